# SPDX-License-Identifier: Apache-2.0
"""Publishing with the real client to a local Hub: one commit or none, and what happens when something fails."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from typing import Any

import pytest
from conftest import contents
from hub_client import OTHER_TOKEN, READ_TOKEN, TOKEN, WRONG_TOKEN, run_stranger
from hub_repos import GITATTRIBUTES
from hub_server import Fault, HubServer
from huggingface_hub import HfApi
from huggingface_hub.errors import LocalTokenNotFoundError, OfflineModeIsEnabled

from hub.publish import Published, add_to_collection, local_plan, plan, publish
from modeling_stacked_emotion import StackedEmotionTokenizer
from trainer_ext.errors import InputError

pytest_plugins = ["hub_client"]

KEPT = {".gitattributes": GITATTRIBUTES}
COMMIT = "/commit/"


@pytest.mark.parametrize("repo_type", ["model", "dataset", "space"])
def test_a_repository_becomes_equal_to_the_folder_in_one_commit(
    hub: HubServer, api: HfApi, folder: Path, repo_type: str
) -> None:
    made = publish(folder, "user/repo", repo_type, message="First version", api=api)

    repo = hub.repo("user/repo", repo_type)
    assert repo.files() == KEPT | contents(folder)
    assert [commit.title for commit in repo.history()] == ["First version", "initial commit"]
    assert repo.private
    assert made.commit == repo.head.oid
    assert made.pull_request is None
    assert repo.head.files["model.safetensors"].lfs
    assert not repo.head.files["config.json"].lfs
    assert repo.sdk == ("gradio" if repo_type == "space" else None)


def test_a_tokenizer_publishes_itself(hub: HubServer, tokenizer: StackedEmotionTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path / "saved")
    code = """
import sys
from transformers import AutoTokenizer
AutoTokenizer.from_pretrained(sys.argv[1], trust_remote_code=True).push_to_hub("user/words")
print(AutoTokenizer.from_pretrained("user/words", trust_remote_code=True)(sys.argv[2]).data)
"""
    said = run_stranger(hub, tmp_path / "home", code, str(tmp_path / "saved"), "so unfair!")
    assert said.splitlines()[-1] == str(tokenizer("so unfair!").data)


def test_the_same_again_makes_no_commit(hub: HubServer, api: HfApi, folder: Path) -> None:
    first = publish(folder, "user/repo", "model", api=api)
    hub.requests.clear()

    again = publish(folder, "user/repo", "model", api=api)

    assert again.commit == first.commit
    assert again.plan.is_empty
    assert again.plan.num_unchanged == 4
    assert {method for method, _ in hub.requests} == {"GET"}


def test_a_commit_holds_only_what_changed(hub: HubServer, api: HfApi, folder: Path) -> None:
    first = publish(folder, "user/repo", "model", api=api)
    (folder / "config.json").write_text('{"hidden_size": 9}\n')  # As long as before.
    (folder / "vectors" / "words.txt").unlink()
    (folder / "vectors" / "more.txt").write_text("more")
    uploads = hub.count("PUT", "/lfs-upload/")

    made = publish(folder, "user/repo", "model", api=api)

    assert (made.plan.added, made.plan.changed, made.plan.deleted) == (
        {"vectors/more.txt": 4},
        {"config.json": 19},
        {"vectors/words.txt": 9},
    )
    assert made.plan.num_unchanged == 2
    assert hub.repo("user/repo").files() == KEPT | contents(folder)
    assert hub.repo("user/repo").head.parents == (first.commit,)
    assert hub.count("PUT", "/lfs-upload/") == uploads


def test_a_changed_large_file_of_the_same_size_is_seen(hub: HubServer, api: HfApi, folder: Path) -> None:
    publish(folder, "user/repo", "model", api=api)
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[::-1])
    assert publish(folder, "user/repo", "model", api=api).plan.changed == {"model.safetensors": len(data)}
    assert hub.repo("user/repo").files()["model.safetensors"] == data[::-1]


def test_large_files_are_uploaded_in_parts(hub: HubServer, api: HfApi, folder: Path) -> None:
    hub.part_bytes = 100_000
    publish(folder, "user/repo", "model", api=api)
    assert hub.repo("user/repo").files() == KEPT | contents(folder)
    assert hub.count("PUT", "/lfs-part/") == 3


def test_a_plan_changes_nothing(hub: HubServer, api: HfApi, folder: Path) -> None:
    sizes = {path: len(data) for path, data in contents(folder).items()}

    new = plan(folder, "user/repo", "model", api=api)
    assert (new.head, new.private, new.added) == (None, True, sizes)
    assert new == local_plan(folder, "user/repo", "model")
    assert not hub.repos

    publish(folder, "user/repo", "model", api=api)
    (folder / "config.json").unlink()
    before = hub.repo("user/repo").head
    later = plan(folder, "user/repo", "model", api=api)
    assert (later.head, later.added, later.deleted) == (before.oid, {}, {"config.json": 19})
    assert hub.repo("user/repo").head == before


def test_the_lines_of_a_plan(folder: Path) -> None:
    assert local_plan(folder, "user/repo", "model", private=False).lines() == [
        "model user/repo, branch main: a new public repository",
        "  add                37  README.md",
        "  add                19  config.json",
        "  add           262,144  model.safetensors",
        "  add                 9  vectors/words.txt",
        "  4 to add, 0 to change, 0 to delete, 0 unchanged; 262,209 bytes to upload",
    ]


def test_a_repository_is_made_public_last(hub: HubServer, api: HfApi, folder: Path, waits: Any) -> None:
    hub.faults.append(Fault("POST", COMMIT, status=500, times=99))
    with pytest.raises(ConnectionError):
        publish(folder, "user/repo", "model", private=False, api=api)
    assert hub.repo("user/repo").private

    hub.faults.clear()
    publish(folder, "user/repo", "model", private=False, api=api)
    assert not hub.repo("user/repo").private

    publish(folder, "user/repo", "model", api=api)
    assert not hub.repo("user/repo").private


def test_a_branch_is_made_from_the_main_one(hub: HubServer, api: HfApi, folder: Path) -> None:
    first = publish(folder, "user/repo", "model", api=api)
    (folder / "config.json").unlink()

    made = publish(folder, "user/repo", "model", revision="next", api=api)

    repo = hub.repo("user/repo")
    assert repo.refs == {"refs/heads/main": first.commit, "refs/heads/next": made.commit}
    assert repo.files("next") == KEPT | contents(folder)
    assert repo.at("next").parents == (first.commit,)


class TestTag:
    def test_names_the_commit(self, hub: HubServer, api: HfApi, folder: Path) -> None:
        made = publish(folder, "user/repo", "model", tag="v1.0.0", api=api)
        assert hub.repo("user/repo").refs["refs/tags/v1.0.0"] == made.commit

    def test_may_be_there_already(self, hub: HubServer, api: HfApi, folder: Path) -> None:
        for _ in range(2):
            made = publish(folder, "user/repo", "model", tag="v1.0.0", api=api)
        assert hub.repo("user/repo").refs["refs/tags/v1.0.0"] == made.commit

    def test_does_not_move(self, hub: HubServer, api: HfApi, folder: Path) -> None:
        first = publish(folder, "user/repo", "model", tag="v1.0.0", api=api)
        (folder / "config.json").unlink()

        with pytest.raises(ValueError, match=f"tag v1.0.0 of user/repo is on commit {first.commit[:7]}"):
            publish(folder, "user/repo", "model", tag="v1.0.0", api=api)
        assert hub.repo("user/repo").head.oid == first.commit

        second = publish(folder, "user/repo", "model", tag="v1.1.0", api=api)
        assert hub.repo("user/repo").refs["refs/tags/v1.1.0"] == second.commit
        with pytest.raises(ValueError, match="does not move"):
            publish(folder, "user/repo", "model", tag="v1.0.0", api=api)

    def test_is_set_once_when_the_answer_was_an_error(
        self, hub: HubServer, api: HfApi, folder: Path, waits: Any
    ) -> None:
        hub.faults.append(Fault("POST", "/tag/", status=504, is_done=True))
        made = publish(folder, "user/repo", "model", tag="v1.0.0", api=api)
        assert hub.repo("user/repo").refs["refs/tags/v1.0.0"] == made.commit

    def test_comes_with_the_next_run_when_it_failed(
        self, hub: HubServer, api: HfApi, folder: Path, waits: Any
    ) -> None:
        hub.faults.append(Fault("POST", "/tag/", status=503, times=99))
        with pytest.raises(ConnectionError, match="failed at POST /api/models/user/repo/tag/"):
            publish(folder, "user/repo", "model", tag="v1.0.0", api=api)
        hub.faults.clear()

        made = publish(folder, "user/repo", "model", tag="v1.0.0", api=api)

        assert hub.repo("user/repo").refs["refs/tags/v1.0.0"] == made.commit
        assert len(hub.repo("user/repo").history()) == 2


class TestPullRequest:
    def test_leaves_the_branch(self, hub: HubServer, api: HfApi, folder: Path) -> None:
        first = publish(folder, "user/repo", "model", api=api)
        (folder / "config.json").unlink()

        made = publish(folder, "user/repo", "model", create_pr=True, api=api)

        repo = hub.repo("user/repo")
        assert repo.head.oid == first.commit
        assert repo.refs["refs/pr/1"] == made.commit
        assert repo.files("refs/pr/1") == KEPT | contents(folder)
        assert made.pull_request == f"{hub.url}/user/repo/discussions/1"

    def test_is_opened_once(self, hub: HubServer, api: HfApi, folder: Path) -> None:
        publish(folder, "user/repo", "model", api=api)
        (folder / "config.json").unlink()
        first, second = (publish(folder, "user/repo", "model", create_pr=True, api=api) for _ in range(2))
        assert first == second
        (folder / "README.md").unlink()
        assert publish(folder, "user/repo", "model", create_pr=True, api=api).pull_request != first.pull_request

    def test_of_someone_without_the_right_to_write(self, hub: HubServer, api: HfApi, folder: Path) -> None:
        publish(folder, "user/repo", "dataset", private=False, api=api)
        (folder / "config.json").unlink()
        other = HfApi(endpoint=hub.url, token=OTHER_TOKEN)
        made = publish(folder, "user/repo", "dataset", create_pr=True, api=other)
        assert made.pull_request == f"{hub.url}/datasets/user/repo/discussions/1"

    def test_of_nothing_new_is_none(self, hub: HubServer, api: HfApi, folder: Path) -> None:
        first = publish(folder, "user/repo", "model", api=api)
        assert publish(folder, "user/repo", "model", create_pr=True, api=api) == Published(
            first.commit, plan(folder, "user/repo", "model", api=api)
        )
        assert not hub.repo("user/repo").pulls

    def test_needs_a_repository_and_no_tag(self, api: HfApi, folder: Path) -> None:
        with pytest.raises(ValueError, match="There is no model user/repo with the branch main"):
            publish(folder, "user/repo", "model", create_pr=True, api=api)
        with pytest.raises(ValueError, match="A pull request gets no tag"):
            publish(folder, "user/repo", "model", create_pr=True, tag="v1", api=api)


class TestCollection:
    def test_ties_repositories_together_once(self, hub: HubServer, api: HfApi, folder: Path) -> None:
        items = [("user/repo", "model"), ("user/repo", "dataset"), ("user/demo", "space")]
        for repo_id, repo_type in items:
            publish(folder, repo_id, repo_type, api=api)

        slugs = {add_to_collection("Stacked emotion", "user", items[:number], api=api) for number in (2, 3, 3)}

        assert len(slugs) == 1
        collection = api.get_collection(slugs.pop())
        assert [(item.item_id, item.item_type) for item in collection.items] == items
        assert collection.private

    def test_becomes_public(self, hub: HubServer, api: HfApi) -> None:
        for private in (True, False):
            slug = add_to_collection("Stacked emotion", "user", [], private=private, api=api)
        assert not api.get_collection(slug).private

    def test_of_someone_else_is_refused(self, hub: HubServer, api: HfApi) -> None:
        with pytest.raises(PermissionError, match=r"collection Stacked emotion: The token lacks write access"):
            add_to_collection("Stacked emotion", "other", [], api=api)


class TestFaults:
    """The old commit stays until the new one is whole, and the same call finishes the job."""

    @pytest.fixture(autouse=True)
    def first(self, hub: HubServer, api: HfApi, folder: Path, waits: Any) -> Published:
        made = publish(folder, "user/repo", "model", api=api)
        for name in ("model.safetensors", "other.safetensors"):
            (folder / name).write_bytes(name.encode() * 100_000)
        (folder / "config.json").unlink()
        return made

    def check_nothing_published(self, hub: HubServer, first: Published) -> None:
        assert hub.repo("user/repo").head.oid == first.commit

    def check_finishes(self, hub: HubServer, api: HfApi, folder: Path, num_commits: int = 3) -> None:
        hub.faults.clear()
        made = publish(folder, "user/repo", "model", api=api)
        assert made.commit == hub.repo("user/repo").head.oid
        assert hub.repo("user/repo").files() == KEPT | contents(folder)
        assert len(hub.repo("user/repo").history()) == num_commits

    @pytest.mark.parametrize("path", ["/lfs-upload/", "/lfs-part/", COMMIT, "/preupload/", "/objects/batch"])
    def test_a_connection_that_stays_cut(
        self, hub: HubServer, api: HfApi, folder: Path, first: Published, path: str
    ) -> None:
        hub.part_bytes = 1_000_000 if path == "/lfs-part/" else hub.part_bytes
        method = "PUT" if path.startswith("/lfs") else "POST"
        hub.faults.append(Fault(method, path, cut_after=50, times=99))
        with pytest.raises(
            ConnectionError, match=rf"^model user/repo: No connection to {hub.url}, or it was cut \(.*the same command"
        ):
            publish(folder, "user/repo", "model", api=api)
        self.check_nothing_published(hub, first)
        self.check_finishes(hub, api, folder)

    def test_a_connection_cut_once_in_an_upload(self, hub: HubServer, api: HfApi, folder: Path) -> None:
        hub.faults.append(Fault("PUT", "/lfs-upload/", cut_after=50_000))
        self.check_finishes_now(hub, api, folder)

    def check_finishes_now(self, hub: HubServer, api: HfApi, folder: Path) -> None:
        publish(folder, "user/repo", "model", api=api)
        assert not any(fault.times for fault in hub.faults)
        self.check_finishes(hub, api, folder)

    def test_one_large_file_that_arrived_is_not_sent_again(
        self, hub: HubServer, api: HfApi, folder: Path, first: Published
    ) -> None:
        hub.faults.append(Fault("POST", COMMIT, status=500, times=99))
        with pytest.raises(ConnectionError):
            publish(folder, "user/repo", "model", api=api)
        uploads = hub.count("PUT", "/lfs-upload/")
        self.check_finishes(hub, api, folder)
        assert hub.count("PUT", "/lfs-upload/") == uploads == 3

    def test_a_500_that_stays(
        self, hub: HubServer, api: HfApi, folder: Path, first: Published, waits: dict[str, list[float]]
    ) -> None:
        hub.faults.append(Fault("POST", COMMIT, status=500, message="Internal error", times=99))
        with pytest.raises(ConnectionError, match=r"failed at POST .*/commit/main \(500: Internal error\)"):
            publish(folder, "user/repo", "model", api=api)
        assert waits["project"] == [1.0, 2.0, 4.0]
        self.check_nothing_published(hub, first)
        self.check_finishes(hub, api, folder)

    def test_a_500_once(self, hub: HubServer, api: HfApi, folder: Path) -> None:
        hub.faults.append(Fault("POST", COMMIT, status=500))
        self.check_finishes_now(hub, api, folder)

    @pytest.mark.parametrize("create_pr", [False, True])
    @pytest.mark.parametrize("status", [None, 504])
    def test_an_answer_that_was_lost_makes_no_second_commit(
        self, hub: HubServer, api: HfApi, folder: Path, status: int | None, create_pr: bool
    ) -> None:
        hub.faults.append(Fault("POST", COMMIT, status=status, is_done=True))
        made = publish(folder, "user/repo", "model", create_pr=create_pr, api=api)
        repo = hub.repo("user/repo")
        assert len(repo.commits) == 3  # The empty repository, the first version and this one.
        assert repo.refs["refs/pr/1" if create_pr else "refs/heads/main"] == made.commit
        assert (made.pull_request is not None) == create_pr

    @pytest.mark.parametrize(
        "headers",
        [{"Retry-After": "7"}, {"RateLimit": '"api";r=0;t=7', "RateLimit-Policy": '"fixed window";"api";q=9;w=300'}],
    )
    def test_a_429_is_waited_for(
        self, hub: HubServer, api: HfApi, folder: Path, waits: dict[str, list[float]], headers: dict[str, str]
    ) -> None:
        hub.faults += [
            Fault("POST", "/preupload/", status=429, headers=headers),
            Fault("POST", COMMIT, status=429, headers=headers),
            Fault("GET", "/revision/main", status=429, headers=headers),
        ]
        self.check_finishes_now(hub, api, folder)
        assert waits == {"client": [8.0], "project": [7.0, 7.0]}

    def test_a_429_for_long(
        self, hub: HubServer, api: HfApi, folder: Path, first: Published, waits: dict[str, list[float]]
    ) -> None:
        hub.faults.append(Fault("POST", COMMIT, status=429, headers={"Retry-After": "300"}, times=99))
        with pytest.raises(ConnectionError, match="limits the rate of requests: try again in 300 seconds"):
            publish(folder, "user/repo", "model", api=api)
        assert waits["project"] == []
        self.check_nothing_published(hub, first)
        self.check_finishes(hub, api, folder)

    def test_someone_else_in_between(
        self, hub: HubServer, api: HfApi, folder: Path, first: Published, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        commit = api.create_commit

        def late(**options: Any) -> Any:
            hub.repo("user/repo").change("Theirs", a__txt="1")
            return commit(**options)

        monkeypatch.setattr(api, "create_commit", late)
        with pytest.raises(InputError, match="Someone else has changed the repository in between"):
            publish(folder, "user/repo", "model", api=api)
        assert [made.title for made in hub.repo("user/repo").history()][:2] == ["Theirs", "Publish"]
        monkeypatch.setattr(api, "create_commit", commit)
        self.check_finishes(hub, api, folder, num_commits=4)

    def test_someone_else_between_two_attempts(
        self, hub: HubServer, api: HfApi, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub.faults.append(Fault("POST", COMMIT, status=500))
        monkeypatch.setattr("hub.retry.time.sleep", lambda _: hub.repo("user/repo").change("Theirs", a__txt="1"))
        with pytest.raises(InputError, match="Someone else has changed the repository in between"):
            publish(folder, "user/repo", "model", api=api)
        assert hub.repo("user/repo").head.title == "Theirs"

    def test_a_slow_hub(self, hub: HubServer, api: HfApi, folder: Path) -> None:
        hub.faults += [Fault("POST", COMMIT, delay=0.3), Fault("PUT", "/lfs-upload/", delay=0.3)]
        self.check_finishes_now(hub, api, folder)

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/api/models/"),
            ("GET", "/tree/"),
            ("POST", "/preupload/"),
            ("POST", COMMIT),
            ("PUT", "/lfs-upload/"),
        ],
    )
    def test_a_hub_that_never_answers(
        self,
        hub: HubServer,
        api: HfApi,
        folder: Path,
        first: Published,
        waits: dict[str, list[float]],
        monkeypatch: pytest.MonkeyPatch,
        method: str,
        path: str,
    ) -> None:
        for module in ("hub.retry", "hub.publish"):
            monkeypatch.setattr(f"{module}.LONGEST_SILENCE", 0.05)
        hub.faults.append(Fault(method, path, is_silent=True, times=99))
        expected = r"model user/repo: http\S+ has said nothing for 0.05 seconds\. .*the same command finishes the job"
        with pytest.raises(ConnectionError, match=expected):
            publish(folder, "user/repo", "model", api=api)
        self.check_nothing_published(hub, first)
        assert waits["project"] == []
        for module in ("hub.retry", "hub.publish"):
            monkeypatch.setattr(f"{module}.LONGEST_SILENCE", 60.0)
        self.check_finishes(hub, api, folder)

    def test_a_wrong_token(self, hub: HubServer, api: HfApi, folder: Path, first: Published) -> None:
        wrong = HfApi(endpoint=hub.url, token=WRONG_TOKEN)
        with pytest.raises(PermissionError, match=r"does not accept the token \(Invalid credentials.*hf auth login"):
            publish(folder, "user/repo", "model", api=wrong)
        self.check_nothing_published(hub, first)
        self.check_finishes(hub, api, folder)

    def test_a_token_that_may_only_read(self, hub: HubServer, api: HfApi, folder: Path, first: Published) -> None:
        reader = HfApi(endpoint=hub.url, token=READ_TOKEN)
        for repo_id in ("user/repo", "user/new"):
            with pytest.raises(PermissionError, match=r"The token lacks write access \("):
                publish(folder, repo_id, "model", api=reader)
        self.check_nothing_published(hub, first)
        self.check_finishes(hub, api, folder)

    @pytest.mark.parametrize("private", [True, False])
    def test_the_name_of_someone_else(
        self, hub: HubServer, api: HfApi, folder: Path, first: Published, private: bool
    ) -> None:
        hub.repo("user/repo").private = private
        with pytest.raises(PermissionError, match=r"lacks write access .*'user'"):
            publish(folder, "user/repo", "model", api=HfApi(endpoint=hub.url, token=OTHER_TOKEN))
        self.check_nothing_published(hub, first)

    @pytest.mark.parametrize("status", [400, 401, 403, 409, 412, 418, 429, 500])
    def test_the_token_is_in_no_message(self, hub: HubServer, api: HfApi, folder: Path, status: int) -> None:
        hub.faults.append(Fault("POST", COMMIT, status=status, message=f"You sent\n{TOKEN}", times=99))
        with pytest.raises((OSError, InputError)) as caught:
            publish(folder, "user/repo", "model", api=api)
        assert TOKEN not in "".join(traceback.format_exception(caught.value))
        assert "\n" not in str(caught.value)

    def test_a_page_instead_of_json(self, hub: HubServer, api: HfApi, folder: Path, first: Published) -> None:
        hub.faults.append(Fault("POST", "/api/validate-yaml", status=502, page="<html>Bad gateway</html>"))
        (folder / "README.md").write_text("# Another card\n")
        with pytest.raises(ConnectionError, match=f"No connection to {re.escape(hub.url)}"):
            publish(folder, "user/repo", "model", api=api)
        self.check_nothing_published(hub, first)


def test_no_network(hub: HubServer, folder: Path) -> None:
    url, api = hub.url, HfApi(endpoint=hub.url, token=TOKEN)
    hub.__exit__()
    with pytest.raises(ConnectionError, match=f"No connection to {url}, or it was cut .*refused"):
        publish(folder, "user/repo", "model", api=api)


def test_offline_mode(hub: HubServer, api: HfApi, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OfflineModeIsEnabled, match="HF_HUB_OFFLINE"):
        publish(folder, "user/repo", "model", api=api)


def test_no_token(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.publish.get_token", lambda: None)
    for call in (plan, publish):
        with pytest.raises(LocalTokenNotFoundError, match="hf auth login"):
            call(folder, "user/repo", "model", api=HfApi(endpoint="http://127.0.0.1:9"))


def test_nothing_to_publish(api: HfApi, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FileNotFoundError, match=f"no files to publish in {folder}"):
            publish(folder, "user/repo", "model", api=api)


def test_what_the_hub_refuses_for_another_reason(hub: HubServer, api: HfApi, folder: Path) -> None:
    hub.faults.append(Fault("POST", "/repos/create", status=402, message="Payment required"))
    with pytest.raises(ValueError, match=r"refused POST /api/repos/create \(402: Payment required\)"):
        publish(folder, "user/repo", "space", api=api)
