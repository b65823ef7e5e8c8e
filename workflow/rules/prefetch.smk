# What comes from the model hub, fetched before it is used. On a cluster these run where the network is: on the head.
localrules:
    lock_hub,
    fetch_snapshot,
    prefetch,


rule prefetch:
    """Fetches all that the study takes from the model hub; afterwards it runs without network (docs/offline.md)."""
    input:
        lock=f"{R}/hub.lock.json" if study.needs else [],
        snapshots=study.snapshots(),
    log:
        f"{R}/logs/prefetch.log",
    conda:
        "../../envs/main.yaml"
    script:
        "../scripts/prefetch.py"


rule lock_hub:
    """Every repository at one commit, allowed and affordable, before anything costly starts."""
    output:
        # Not removed before the rule runs again: what was looked up once is not asked again.
        update(f"{R}/hub.lock.json"),
    log:
        f"{R}/logs/lock_hub.log",
    priority: 100
    conda:
        "../../envs/main.yaml"
    # No code digest: another version of the code is no reason to ask the hub again.
    params:
        needs=study.needs,
    script:
        "../scripts/prefetch_lock.py"


rule fetch_snapshot:
    """One entry's repositories in the hub's cache, at the lock's commits; its marker says where."""
    input:
        # Another entry's new lock does not fetch this one again.
        ancient(f"{R}/hub.lock.json"),
    output:
        f"{R}/hub/{{section}}/{{entry}}.json",
    log:
        f"{R}/logs/fetch_snapshot/{{section}}/{{entry}}.log",
    priority: 100
    conda:
        "../../envs/main.yaml"
    params:
        need=lambda w: study.needs[f"{w.section}/{w.entry}"],
    script:
        "../scripts/prefetch_snapshot.py"
