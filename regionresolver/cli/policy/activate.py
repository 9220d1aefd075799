"""`regionresolver policy activate`: make a policy the active generation of a folder, if nothing speaks against it."""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import click
import orjson

from regionresolver.cli.options import Instant, load, settings_options
from regionresolver.cli.policy.options import by_option, dir_option, format_option, open_data, watched
from regionresolver.errors import PolicyError
from regionresolver.policy import Finding, Policy, Severity
from regionresolver.policy.activation import Objection, objections
from regionresolver.policy.clock import now
from regionresolver.policy.generations import Activation, Generations, Replay
from regionresolver.policy.impact import Impact
from regionresolver.policy.load import file_of
from regionresolver.policy.served import Trust, read_generation, read_served
from regionresolver.resolver import Resolver
from regionresolver.resolver.replay import replay

NOBODY = Policy.model_validate({"policy": {"name": "nothing", "version": 1}})
"""What a first policy is compared with: one that allows everybody."""


@click.command("activate")
@click.argument("file", metavar="FILE")
@dir_option
@click.option("--pings", metavar="LOG", type=click.File("rb"), help="Recorded pings, NDJSON, to replay for the guardrails.")
@click.option("--at", type=Instant(), metavar="INSTANT", help="Replay all pings as of this instant.  [default: now]")
@click.option("--force", is_flag=True, help="Pass over the guardrails, and a salt that changes mid-ramp; needs --reason.")
@click.option("--reason", metavar="TEXT", help="Why, for the history.")
@by_option
@settings_options("db", "index", "any_regions", "policy_public_keys", "policy_state")
@format_option
def command(
    file: str,
    *,
    folder: Path,
    pings: BinaryIO | None,
    at: dt.datetime | None,
    force: bool,
    reason: str | None,
    by: str,
    format_: str,
    **values: object,
) -> None:
    """Make a policy the active generation of a folder, which `serve --policy FOLDER` serves.

    Refused is what lint calls an error, a test that fails, a version that has been active, and what the guardrails forbid:
    a replay of too few pings, or too many of them newly denied. The stricter of the active policy's guardrails and the
    candidate's holds; a policy that cannot deny anybody needs no replay. With public keys the file must be signed. When it
    is refused, or the command cut off at any step, the old policy stays active. The same bytes again change nothing.

    Exit status: 0 active, 1 refused, 2 usage.

    \b
    Examples:
      regionresolver policy activate activation.toml --dir policies --pings pings.ndjson
      regionresolver policy activate activation.toml --dir policies --force --reason "counted by hand: ticket 4711"
    """
    if force and not (reason or "").strip():
        raise click.UsageError("--force needs --reason: it is kept in the history")
    settings, instant = load(values).settings, now()
    generations, trust = Generations(folder), Trust.of(settings.policy_public_keys, settings.policy_state)
    with open_data(values) as data:
        active = generations.active()
        candidate = read_served(file_of(file), data.catalogue, trust, generations)
        if active is not None and _holds(generations, active, candidate.sha256):
            _tell(folder, active, None, [], [], format_)
            return
        running = _running(generations, data)
        findings = data.lint_policy(candidate.policy, active=running, at=instant)
        impact = None if pings is None else _replay(data, running or NOBODY, candidate.policy, pings, at or instant)
        against = objections(candidate.policy, running, generations.chain(), findings, impact)
    made = None
    if all(force and one.may_force for one in against):
        made = generations.activate(
            candidate.content,
            candidate.policy,
            replaces=active,
            at=instant,
            by=by,
            reason=reason,
            overridden=tuple(one.text for one in against),
            replay=None if impact is None else Replay(pings=impact.pings, newly_denied=impact.newly_denied),
            signature=candidate.signature,
            key=candidate.key,
        )
    _tell(folder, made, active, against, findings, format_)
    click.get_current_context().exit(1 if made is None else 0)


def _holds(generations: Generations, active: Activation, sha256: str) -> bool:
    """Say whether the active generation has these bytes, and still has them."""
    try:
        return active.sha256 == sha256 and bool(generations.content(active))
    except PolicyError:
        return False


def _running(generations: Generations, data: Resolver) -> Policy | None:
    """Answer the policy to compare with: the active one, or the last one before it that can still be read."""
    for activation in generations.chain():
        try:
            return read_generation(generations, activation, data.catalogue, Trust()).policy
        except PolicyError as error:
            click.echo(f"regionresolver: warning: {error}", err=True)
    return None


def _replay(data: Resolver, before: Policy, candidate: Policy, pings: BinaryIO, at: dt.datetime) -> Impact:
    """Count what the candidate would change for recorded pings, were they to come at this instant."""
    with watched(pings, "replaying") as advance:
        return replay(data.with_policy(before), candidate, pings, at, at=at, advance=advance)


def _tell(
    folder: Path,
    made: Activation | None,
    before: Activation | None,
    against: Sequence[Objection],
    findings: Sequence[Finding],
    format_: str,
) -> None:
    """Print what became of the candidate; nothing has changed where there is an activation and none before nor against."""
    warnings = [finding for finding in findings if finding.severity is Severity.WARNING]
    if format_ == "json":
        document = {
            "activated": made is not None,
            "generation": None if made is None else made.generation,
            "policy": None if made is None else made.label,
            "sha256": None if made is None else made.sha256,
            "previous": None if before is None else before.label,
            "objections": [
                {"code": one.code, "text": one.text, "remedy": one.remedy, "may_force": one.may_force} for one in against
            ],
            "warnings": [str(finding) for finding in warnings],
        }
        click.echo(orjson.dumps(document))
        return
    for finding in warnings:
        click.echo(str(finding), err=True)
    for one in against:
        click.echo(f"{'refused' if made is None else 'forced'}: {one}", err=True)
    if made is None:
        click.echo(f"{folder}: nothing has changed", err=True)
    else:
        click.echo(f"{folder}: generation {made.generation}, {made.label}, is active")
