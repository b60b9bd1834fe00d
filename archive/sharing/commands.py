"""``python -m archive sharing``: what facilities share, for an operator."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Final

from archive.actions import add_action, operator
from archive.core import Archive
from archive.sharing.sharings import Grant, Members, Shared, Terms
from config.settings import Settings

Add = Callable[[str, Callable[[Settings, argparse.Namespace], int], str], argparse.ArgumentParser]
_TIME: Final = "%Y-%m-%d %H:%M"


def register(add: Add) -> None:
    """Add the command."""
    sharing = add("sharing", _run, "Referrals and consultations: list, open, end; who sees what; what owners are told.")
    actions = sharing.add_subparsers(required=True, metavar="ACTION")
    command = add_action(actions, "list", _list, "referrals, consultations and broken glass that hold")
    command.add_argument("--all", action="store_true", help="also those that have ended")
    command = add_action(actions, "refer", _refer, "let another facility see a study")
    command.add_argument("study", metavar="STUDY_UID")
    command.add_argument("to", metavar="FACILITY")
    command.add_argument("--whole-patient", action="store_true", help="all of the patient, also what comes")
    _terms(command)
    command = add_action(actions, "consult", _consult, "open a consultation")
    command.add_argument("title", metavar="TITLE")
    command.add_argument("--study", action="append", required=True, metavar="UID")
    command.add_argument("--facility", action="append", default=[], metavar="CODE")
    command.add_argument("--account", action="append", default=[], metavar="NAME")
    _terms(command)
    command = add_action(actions, "close", _close, "end a referral or consultation")
    command.add_argument("number", type=int)
    command = add_action(actions, "grants", _grants, "to whom studies are open")
    command.add_argument("--study", metavar="UID")
    command.add_argument("--all", action="store_true", help="also those that have ended")
    command = add_action(actions, "withdraw", _withdraw, "take one grant back")
    command.add_argument("number", type=int)
    command = add_action(actions, "own", _own, "make a study another facility's, whose it is; what it shared ends")
    command.add_argument("study", metavar="STUDY_UID")
    command.add_argument("facility", metavar="FACILITY")
    command.add_argument("--reason", required=True)
    command = add_action(actions, "notices", _notices, "what owners of studies are told and have not taken note of")


def _terms(command: argparse.ArgumentParser) -> None:
    command.add_argument("--purpose", required=True)
    command.add_argument("--days", type=float, help="as the settings say unless given")
    command.add_argument("--may-copy", action="store_true", help="whole objects may be taken, too")


def _run(settings: Settings, given: argparse.Namespace) -> int:
    with Archive.open(settings, application="pacs sharing") as archive:
        given.act(archive, given)
    return 0


def _list(archive: Archive, given: argparse.Namespace) -> None:
    for each in archive.sharings.decisions(operator(), closed=given.all, limit=1000):
        _show(each)


def _refer(archive: Archive, given: argparse.Namespace) -> None:
    _show(
        archive.sharings.refer(operator(), given.study, given.to, _terms_of(given), whole_patient=given.whole_patient)
    )


def _consult(archive: Archive, given: argparse.Namespace) -> None:
    members = Members(tuple(given.facility), tuple(given.account))
    _show(archive.sharings.consult(operator(), given.title, members, given.study, _terms_of(given)))


def _close(archive: Archive, given: argparse.Namespace) -> None:
    _show(archive.sharings.close(operator(), given.number))


def _grants(archive: Archive, given: argparse.Namespace) -> None:
    for each in archive.sharings.grants(operator(), given.study, ended=given.all, limit=1000):
        _show_grant(each)


def _withdraw(archive: Archive, given: argparse.Namespace) -> None:
    _show_grant(archive.sharings.withdraw(operator(), given.number))


def _notices(archive: Archive, given: argparse.Namespace) -> None:
    del given
    for each in archive.break_glass.notices(operator(), limit=1000):
        whom = each.opened_by or each.to_facility
        what = each.study or each.reason
        print(f"{each.id}  {each.created_at:{_TIME}}  {each.kind}  {each.facility} -> {whom}  {what}".rstrip())


def _own(archive: Archive, given: argparse.Namespace) -> None:
    before = archive.ownership.give(operator(), given.study, given.facility, given.reason)
    print(f"{given.study}  {before} -> {given.facility}")


def _terms_of(given: argparse.Namespace) -> Terms:
    return Terms(given.purpose, given.days, given.may_copy)


def _show(each: Shared) -> None:
    ended = f"ended {each.closed_at:{_TIME}}" if each.closed_at else f"until {each.expires_at:{_TIME}}"
    whom = ", ".join((*each.facilities, *each.accounts))
    copies = "view and copy" if each.may_copy else "view"
    what = "the patient" if each.whole_patient else f"{len(each.studies)} studies"
    print(f"{each.id}  {each.kind}  {each.facility} -> {whom}  {what}  {copies}  {ended}  {each.title or each.purpose}")


def _show_grant(each: Grant) -> None:
    whom = each.to_facility or each.to_account or f"link {each.to_link}"
    ended = f"withdrawn {each.withdrawn_at:{_TIME}}" if each.withdrawn_at else f"until {each.expires_at:{_TIME}}"
    copies = "view and copy" if each.may_copy else "view"
    print(f"{each.id}  {each.kind}  {each.study}  {each.facility} -> {whom}  {copies}  {ended}")
