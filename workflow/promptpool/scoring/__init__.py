from .. import tasks  # noqa: F401  (sets MTEB_CACHE before a module of this package imports mteb)
