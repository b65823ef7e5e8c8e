# What comes from the model hub, fetched before it is used. On a cluster these run where the network is: on the head.
localrules:
    pin_snapshot,
    fetch_snapshot,
    prefetch,


wildcard_constraints:
    kind="models|datasets",
    snapshot="[^/]+",


NEEDED = study.hub_snapshots()


rule prefetch:
    """Fetches all that the study takes from the model hub; afterwards it runs without network (docs/how-to/offline.md)."""
    input:
        expand(f"{R}/hub/{{snapshot}}.json", snapshot=NEEDED),
    log:
        f"{R}/logs/prefetch.log",
    conda:
        "../../envs/main.yaml"
    script:
        "../scripts/prefetch.py"


rule pin_snapshot:
    """One repository at one commit, in hub.lock.json too: allowed and affordable, before anything costly starts."""
    output:
        f"{R}/hub/pins/{{kind}}/{{snapshot}}.json",
    log:
        f"{R}/logs/pin_snapshot/{{kind}}/{{snapshot}}.log",
    priority: 100
    conda:
        "../../envs/main.yaml"
    # For the errors alone: that another entry wants it too is no reason to ask again.
    resources:
        wanted_by=lambda w: study.wanted_by(f"{w.kind}/{w.snapshot}"),
    # Nor is another version of the code, so there is no digest of it.
    params:
        need=lambda w: NEEDED[f"{w.kind}/{w.snapshot}"],
    script:
        "../scripts/pin_snapshot.py"


rule fetch_snapshot:
    """A pinned repository's files in the hub's cache; the marker says where."""
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
