# Downloads from the model hub, before they are used. On a cluster these run on the head node, which has the network.
localrules:
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


rule fetch_snapshot:
    """Downloads a repository into the hub's cache, at the commit of hub.lock.json; the marker records where."""
    output:
        f"{R}/hub/{{kind}}/{{snapshot}}.json",
    log:
        f"{R}/logs/fetch_snapshot/{{kind}}/{{snapshot}}.log",
    priority: 100
    conda:
        "../../envs/main.yaml"
    # Only for errors: another entry that needs it too must not cause a rerun, nor another version of the code, so there
    # is no code digest.
    resources:
        wanted_by=lambda w: study.wanted_by(f"{w.kind}/{w.snapshot}"),
    script:
        "../scripts/fetch_snapshot.py"
