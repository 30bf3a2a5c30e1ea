"""The list of attacks is whole: each of its 83 cases is a test here, or named with the test that covers it elsewhere."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]

ELSEWHERE = {
    41: "bot/test_models.py::test_a_whole_conversation_is_sent_back_as_servers_want_it",
    42: "flows/test_chat.py::test_nothing_that_is_printed_or_said_pings_anybody",
    43: "sandbox/test_docker.py::test_a_restart_during_a_cell_gets_its_true_end",
    53: "flows/test_page.py::test_hostile_content_runs_nothing",
    66: "sandbox/test_profile.py::test_nothing_else_is_asked_of_the_engine",
}
"""Cases that are not code in a sandbox, and the test that covers each."""

ALSO = {
    53: "sandbox/test_media.py::test_any_bytes_have_a_type_and_never_a_pictures_by_name_alone",
    78: "bot/test_seal.py::test_another_threads_anothers_place_and_another_installations_are_refused",
}
"""Where the other half of a case is."""


def test_every_case_is_here_or_elsewhere() -> None:
    files = [path.read_text() for path in Path(__file__).parent.glob("test_*.py")]
    names = [name for text in files for name in re.findall(r"^async def test_((?:\d\d_)+)", text, re.MULTILINE)]
    here = {int(number) for name in names for number in name.split("_") if number}
    assert here | ELSEWHERE.keys() == set(range(1, 84))


def test_what_is_named_is_there() -> None:
    for place in (*ELSEWHERE.values(), *ALSO.values()):
        file, _, name = place.partition("::")
        assert re.search(rf"def {name}\(", (TESTS / file).read_text()), place
