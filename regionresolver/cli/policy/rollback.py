"""`regionresolver policy rollback`: make an earlier generation the active one again."""

from pathlib import Path

import click
import orjson

from regionresolver.cli.options import load, settings_options
from regionresolver.cli.policy.options import by_option, dir_option, format_option, open_data
from regionresolver.errors import PolicyError
from regionresolver.policy import Severity
from regionresolver.policy.clock import now
from regionresolver.policy.generations import Activation, Generations, Permission
from regionresolver.policy.served import Trust, read_generation
from regionresolver.policy.signatures import permit_rollback, private_key


@click.command("rollback")
@dir_option
@click.option("--to", metavar="NUMBER", type=click.IntRange(min=1), help="Generation to go to.  [default: the one before]")
@click.option("--reason", metavar="TEXT", required=True, help="Why, for the history.")
@click.option("--key", metavar="KEY", help="Private key that signs the permission to serve an older policy.")
@by_option
@settings_options("db", "index", "any_regions", "policy_public_keys", "policy_state")
@format_option
def command(*, folder: Path, to: int | None, reason: str, key: str | None, by: str, format_: str, **values: object) -> None:
    """Make an earlier generation the active one again: its bytes as they were, without a replay.

    Without --to it is the one before; again, the one before that. The generation must still pass its tests on these
    databases. With public keys an older policy needs a signed permission: give the private key with --key. A damaged
    pointer is mended.

    Exit status: 0 rolled back, 1 refused, 2 usage.

    \b
    Examples:
      regionresolver policy rollback --dir policies --reason "denies phones in Spain"
      regionresolver policy rollback --dir policies --to 3 --reason "ticket 4711" --key policy.key
    """
    settings = load(values).settings
    generations, trust = Generations(folder), Trust.of(settings.policy_public_keys, settings.policy_state)
    active, chain = _before(generations)
    target = _target(folder, chain, to)
    permission = None if key is None else _permission(target, chain, trust, key)
    with open_data(values) as data:
        served = read_generation(generations, target.model_copy(update={"permission": permission}), data.catalogue, trust)
        for finding in data.lint_policy(served.policy):
            if finding.severity is Severity.ERROR:
                reason_ = f"generation {target.generation} could not be served: {finding.text}"
                raise PolicyError(served.file, reason_, where=finding.where, remedy="choose another with --to")
    made = generations.roll_back(target, replaces=active, at=now(), by=by, reason=reason, key=served.key, permission=permission)
    if format_ == "json":
        click.echo(orjson.dumps({"generation": made.generation, "policy": made.label, "sha256": made.sha256}))
    else:
        click.echo(f"{folder}: generation {made.generation}, {made.label}, is active again")


def _before(generations: Generations) -> tuple[Activation | None, list[Activation]]:
    """Answer what is active, None where the pointer is damaged, and everything that ever was, the latest first."""
    try:
        return generations.active(), generations.chain()
    except PolicyError:
        return None, generations.remembered()


def _target(folder: Path, chain: list[Activation], to: int | None) -> Activation:
    """Answer the latest activation of the generation to go to. Raises PolicyError."""
    if not chain:
        remedy = f"activate a policy: regionresolver policy activate FILE --dir {folder}"
        raise PolicyError(folder, "no generation has ever been active here, as far as its history tells", remedy=remedy)
    earlier = [found for found in chain if found.generation < chain[0].generation]
    if to is None and not earlier:
        raise PolicyError(folder, f"there is no generation before {chain[0].generation}", remedy="activate another policy")
    number = max(found.generation for found in earlier) if to is None else to
    found = next((found for found in chain if found.generation == number), None)
    if found is None:
        remedy = f"choose one of: regionresolver policy generations --dir {folder}"
        raise PolicyError(folder, f"generation {number} has never been active", remedy=remedy)
    return found


def _permission(target: Activation, chain: list[Activation], trust: Trust, key: str) -> Permission:
    """Sign the permission to serve the target although higher versions have been served."""
    known = trust.highest()
    highest = max(*(found.version for found in chain), 0 if known is None else known.version)
    key_id, signature = permit_rollback(target.name, target.version, target.sha256, highest, private_key(key))
    return Permission(key=key_id, highest=highest, signature=signature)
