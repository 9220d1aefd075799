"""What a generation has to pass before it is served, besides what opening it checks: canaries, age, shrink limit.

Called by the supervisor at the start, and by the builder of every later generation, there with the one that is served.
"""

from regionresolver.errors import GenerationError
from regionresolver.resolver import Resolver, now
from regionresolver.resolver.canaries import ask_canaries
from regionresolver.settings import Settings

DAY_S = 86_400


def check_generation(resolver: Resolver, settings: Settings, served: Resolver | None = None) -> None:
    """Refuse a generation that must not be served in the place of `served` (None: of any). Raises RegionResolverError."""
    if settings.canaries is not None:
        ask_canaries(settings.canaries, resolver)
    if settings.max_age_refuse_days is not None and (found := too_old(resolver, settings.max_age_refuse_days)) is not None:
        raise GenerationError(f"{found}: older than max_age_refuse_days allows (update the database, or raise the limit)")
    if served is not None and served.index.sha256 != resolver.index.sha256:
        shrunk = resolver.extent().shrunk(served.extent(), settings.shrink_limit)
        if shrunk is not None:
            remedy = "give a complete database; if this is meant: regionresolver reload --force"
            raise GenerationError(f"{shrunk}, more than shrink_limit allows ({remedy})")


def too_old(resolver: Resolver, limit_days: float) -> str | None:
    """Say which database was built longer ago than the limit, None for none."""
    for source in resolver.index.sources:
        age_days = (now().timestamp() - source.build_epoch) / DAY_S
        if age_days > limit_days:
            return f"the database {source.name} was built {age_days:.0f} days ago"
    return None
