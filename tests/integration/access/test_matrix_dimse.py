"""The same rule at the other door: peers of every kind, over the network, against a node that runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import pytest
from pydicom.dataset import Dataset
from pynetdicom.association import Association

from config.peers import Peer
from config.settings import Settings
from tests.conformance.test_ps3_4_c_4_2_retrieve import Got, get, node_with, viewer
from tests.integration.access.relations import COPIED, HOME, OWNER, SEEN, Kept, Reach, Relation, keep
from tests.integration.access.told import assert_told
from tests.integration.archive.support import sql
from tests.integration.dicom_node.running import Node
from tests.integration.dicom_node.scu import IMPLICIT, STUDY_ROOT, associated, identifier
from tests.worklist import WORKLIST_FIND, put, question

FIND, MOVE = STUDY_ROOT + "1", STUDY_ROOT + "2"
RIGHTS: Final = (("find", "move", "worklist"), ("find",), ("move",), ("worklist",), ())
PEERS: Final = tuple(
    Peer.model_validate({"ae_title": f"X{number}", "facility": HOME, "rights": rights, "sees": sees})
    for number, (sees, rights) in enumerate((sees, rights) for sees in ("own", "province") for rights in RIGHTS)
)
REFUSED: Final = 0x0124


class Site(NamedTuple):
    node: Node
    studies: dict[Relation, Kept]
    got: Got


@pytest.fixture
def site(settings: Settings) -> Iterator[Site]:
    # Who sees the own facility alone sends nowhere else either.
    with (
        viewer(got := Got()) as destination,
        node_with(settings, destination.model_copy(update={"facility": HOME}), *PEERS) as node,
    ):
        archive = node.archive
        account = sql(archive, "INSERT INTO account (name) VALUES ('binh') RETURNING id")[0]
        # Nobody comes by the link here: that its grant is for another is enough.
        stranger = sql(archive, "INSERT INTO account (name) VALUES ('la') RETURNING id")[0]
        studies = {each: keep(archive, each, account, stranger) for each in Relation if each is not Relation.LINK}
        for facility in (HOME, OWNER):
            put(archive, Facility=facility, PatientID=facility, AccessionNumber=facility)
        yield Site(node, studies, got)


def sees(peer: Peer, relation: Relation) -> bool:
    return relation in (SEEN[Reach.PROVINCE] if peer.sees == "province" else SEEN[Reach.FACILITY])


def takes(peer: Peer, relation: Relation) -> bool:
    return sees(peer, relation) and (peer.sees == "province" or relation in COPIED)


def test_every_cell_of_peers_on_the_network(site: Site) -> None:
    wanted: list[int] = []
    wrong: list[str] = []

    def check(what: str, right: bool, allowed: bool, status: int, found: bool) -> None:
        wanted.append(200 if right and allowed else 404 if right else 403)
        if (status == REFUSED) is right or found is not (right and allowed):
            wrong.append(f"{what}: status {status:04X}, found {found}")

    for peer in PEERS:
        contexts = [(FIND, IMPLICIT), (MOVE, IMPLICIT), (WORKLIST_FIND, IMPLICIT)]
        with associated(site.node, contexts, calling=peer.ae_title) as association:
            for relation, kept in site.studies.items():
                name = f"{peer.sees} {peer.rights} {relation}"
                for keys in ({"StudyInstanceUID": kept.study}, {"PatientID": kept.patient, "StudyInstanceUID": ""}):
                    status, matches = _asked(association, identifier("STUDY", **keys), FIND)
                    found = kept.study in {each.StudyInstanceUID for each in matches}
                    check(f"C-FIND {name}", peer.may("find"), sees(peer, relation), status, found)
                status, found = _moved(association, site.got, kept)
                check(f"C-MOVE {name}", peer.may("move"), takes(peer, relation), status, found)
            for facility in (HOME, OWNER):
                status, matches = _asked(association, question(PatientID=facility), WORKLIST_FIND)
                mine = facility == HOME or peer.sees == "province"
                check(f"worklist {peer.rights}", peer.may("worklist"), mine, status, bool(matches))
    for peer in (each for each in PEERS if each.rights in (RIGHTS[0], ())):
        for relation, kept in site.studies.items():
            got = get(site.node, identifier("STUDY", StudyInstanceUID=kept.study), calling=peer.ae_title)
            found = kept.image[1] in got.received
            check(f"C-GET {peer.sees} {relation}", peer.may("move"), takes(peer, relation), got.statuses[-1], found)
    assert not wrong, f"{len(wrong)} of {len(wanted)}: " + "; ".join(wrong[:20])
    assert_told("peers on the network", wanted)


def _asked(association: Association, asked: Dataset, model: str) -> tuple[int, list[Any]]:
    matches, status = [], -1
    for response, match in association.send_c_find(asked, model):
        status = int(response.Status)
        if match is not None:
            matches.append(match)
    return status, matches


def _moved(association: Association, got: Got, kept: Kept) -> tuple[int, bool]:
    got.received.clear()
    status = -1
    for response, _ in association.send_c_move(identifier("STUDY", StudyInstanceUID=kept.study), "VIEWER", MOVE):
        status = int(response.Status)
    return status, kept.image[1] in got.received
