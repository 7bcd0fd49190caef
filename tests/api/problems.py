"""A check of schemathesis (`tests/api/run`): every error is a problem (RFC 9457) whose code is known,
with the status and the fields that go with it."""

import pathlib
import re

import schemathesis

SOURCE = pathlib.Path(__file__).resolve().parents[2] / "crates/membership/src/problem.rs"
# The table of all codes: the word and the status.
CODES = {
    word: int(status)
    for word, status in re.findall(r'\(\s*"([a-z-]+)",\s*(\d{3}),', SOURCE.read_text())
}


@schemathesis.check
def errors_are_problems(_context, response, _case):
    """Every error is a problem with a code of the table and its status."""
    if response.status_code < 400:
        return
    # The head of an answer to HEAD is all of it.
    if response.request.method == "HEAD":
        return
    kind = response.headers.get("content-type", [""])[0]
    assert kind == "application/problem+json", f"an error is a {kind}"
    problem = response.json()
    assert problem["code"] in CODES, f"nobody knows the code {problem['code']}"
    assert CODES[problem["code"]] == problem["status"] == response.status_code, "the status is another one"
    assert problem["type"] == f"/problems/{problem['code']}", "the type leads nowhere"
    assert problem["detail"] and problem["title"], "there is no sentence"
