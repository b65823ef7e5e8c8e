# Downloads from the model hub, before they are used. On a cluster these run on the head node, which has the network.
localrules:
    pin_snapshot,
    fetch_snapshot,
    prefetch,


wildcard_constraints:
    kind="models|datasets",
    snapshot="[^/]+",


NEEDED = study.hub_snapshots()


rule prefetch:
    """Downloads all that the study needs from the model hub. After that it runs offline (docs/how-to/offline.md)."""
    input:
        expand(f"{R}/hub/{{snapshot}}.json", snapshot=NEEDED),
    log:
        f"{R}/logs/prefetch.log",
    conda:
        "../../envs/main.yaml"
    script:
        "../scripts/prefetch.py"


rule pin_snapshot:
    """Pins a repository to a commit, in hub.lock.json too; checks access and disk before anything costly starts."""
    output:
        f"{R}/hub/pins/{{kind}}/{{snapshot}}.json",
    log:
        f"{R}/logs/pin_snapshot/{{kind}}/{{snapshot}}.log",
    priority: 100
    conda:
        "../../envs/main.yaml"
    # Only for errors: another entry that needs it too must not cause a rerun.
    resources:
        wanted_by=lambda w: study.wanted_by(f"{w.kind}/{w.snapshot}"),
    # Neither must another version of the code, so there is no code digest.
    params:
        need=lambda w: NEEDED[f"{w.kind}/{w.snapshot}"],
    script:
        "../scripts/pin_snapshot.py"


rule fetch_snapshot:
    """Downloads a pinned repository into the hub's cache; the marker records where."""
    input:
        f"{R}/hub/pins/{{kind}}/{{snapshot}}.json",
    output:
        f"{R}/hub/{{kind}}/{{snapshot}}.json",
    log:
        f"{R}/logs/fetch_snapshot/{{kind}}/{{snapshot}}.log",
    priority: 90
    conda:
        "../../envs/main.yaml"
    resources:
        wanted_by=lambda w: study.wanted_by(f"{w.kind}/{w.snapshot}"),
    script:
        "../scripts/fetch_snapshot.py"
