# SPDX-License-Identifier: Apache-2.0
"""The local Hub under its real clients: huggingface_hub, transformers and datasets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hub_client import OTHER_TOKEN, STOCK_AND_CUSTOM, TOKEN, WRONG_TOKEN, contents, run_stranger
from hub_repos import GITATTRIBUTES
from hub_server import Fault, HubServer
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, HfFileSystem
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hub.model.folder import write_model_folder
from hub.publish import publish
from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer

pytest_plugins = ["hub_client"]

TEXTS = ["I am so happy today!", "", "أنا سعيد جدا اليوم"]


@pytest.fixture
def repo_id(api: HfApi, folder: Path) -> str:
    publish(folder, "user/repo", "model", tag="v1", api=api)
    return "user/repo"


class TestDownloads:
    @pytest.mark.parametrize("revision", ["main", "v1", "the commit"])
    def test_of_everything(
        self, hub: HubServer, api: HfApi, folder: Path, repo_id: str, tmp_path: Path, revision: str
    ) -> None:
        commit = hub.repo(repo_id).head.oid
        wanted = commit if revision == "the commit" else revision
        found = Path(api.snapshot_download(repo_id, revision=wanted, cache_dir=tmp_path / "cache"))
        assert contents(found) == {".gitattributes": GITATTRIBUTES} | contents(folder)
        assert found.name == commit

    @pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
    def test_of_one_file_that_is_cut_and_goes_on(
        self, hub: HubServer, api: HfApi, folder: Path, repo_id: str, tmp_path: Path, waits: Any, name: str
    ) -> None:
        data = (folder / name).read_bytes()
        path = "/lfs/models/" if name == "model.safetensors" else f"/resolve/main/{name}"
        hub.faults.append(Fault("GET", path, cut_after=len(data) // 2))
        found = api.hf_hub_download(repo_id, name, cache_dir=tmp_path / "cache")
        assert Path(found).read_bytes() == data
        assert not hub.faults[0].times

    def test_of_metadata(self, hub: HubServer, api: HfApi, repo_id: str) -> None:
        head = hub.repo(repo_id).head
        for name, blob in head.files.items():
            found = api.get_hf_file_metadata(url=f"{hub.url}/{repo_id}/resolve/main/{name}")
            assert (found.commit_hash, found.etag, found.size) == (head.oid, blob.etag, len(blob.data))

    def test_of_a_part_of_a_file(self, hub: HubServer, api: HfApi, folder: Path, repo_id: str) -> None:
        files = HfFileSystem(endpoint=hub.url, token=TOKEN, skip_instance_cache=True)
        with files.open(f"{repo_id}/model.safetensors", block_size=1000) as stream:
            stream.seek(100_000)
            assert stream.read(500) == (folder / "model.safetensors").read_bytes()[100_000:100_500]
        assert sorted(files.glob(f"{repo_id}/**/*.txt")) == [f"{repo_id}/vectors/words.txt"]


class TestApi:
    def test_who_i_am(self, hub: HubServer, api: HfApi) -> None:
        assert api.whoami()["name"] == "user"
        with pytest.raises(HfHubHTTPError, match="Invalid user token"):
            HfApi(endpoint=hub.url, token=WRONG_TOKEN).whoami()

    def test_files_and_folders(self, api: HfApi, repo_id: str) -> None:
        flat = [entry.path for entry in api.list_repo_tree(repo_id)]
        assert flat == ["vectors", ".gitattributes", "README.md", "config.json", "model.safetensors"]
        assert [entry.path for entry in api.list_repo_tree(repo_id, "vectors")] == ["vectors/words.txt"]
        infos = api.get_paths_info(repo_id, ["vectors", "model.safetensors", "none"])
        assert [info.path for info in infos] == ["vectors", "model.safetensors"]
        assert infos[1].lfs is not None
        assert api.list_repo_files(repo_id) == [*flat[1:], "vectors/words.txt"]
        assert api.file_exists(repo_id, "config.json")
        assert not api.file_exists(repo_id, "none.json")

    def test_history_and_refs(self, hub: HubServer, api: HfApi, repo_id: str) -> None:
        api.create_branch(repo_id, branch="next")
        made = api.create_commit(
            repo_id, [CommitOperationDelete("vectors/")], commit_message="Less", revision="next", create_pr=True
        )
        refs = api.list_repo_refs(repo_id, include_pull_requests=True)
        assert [ref.name for ref in refs.branches] == ["main", "next"]
        assert [ref.name for ref in refs.tags] == ["v1"]
        assert [(ref.ref, ref.target_commit) for ref in refs.pull_requests or []] == [("refs/pr/1", made.oid)]
        assert made.pr_num == 1
        titles = [commit.title for commit in api.list_repo_commits(repo_id, revision="refs/pr/1")]
        assert titles == ["Less", "Publish", "initial commit"]
        assert "vectors/words.txt" not in hub.repo(repo_id).files("refs/pr/1")

    def test_a_commit_is_all_or_nothing(self, hub: HubServer, api: HfApi, repo_id: str) -> None:
        head = hub.repo(repo_id).head
        operations = [CommitOperationAdd("new.txt", b"new"), CommitOperationDelete("none.txt")]
        with pytest.raises(EntryNotFoundError):
            api.create_commit(repo_id, operations, commit_message="Both")
        with pytest.raises(HfHubHTTPError, match="412"):
            api.create_commit(repo_id, operations[:1], commit_message="Late", parent_commit=head.parents[0])
        assert hub.repo(repo_id).head == head

    def test_metadata_of_a_card_is_checked(self, api: HfApi, repo_id: str) -> None:
        card = CommitOperationAdd("README.md", b"---\nlicense: [\n---\n# Card\n")
        with pytest.raises(ValueError, match=r"Invalid metadata in README\.md"):
            api.create_commit(repo_id, [card], commit_message="Card")

    def test_what_is_not_there(self, hub: HubServer, api: HfApi, repo_id: str, tmp_path: Path) -> None:
        with pytest.raises(RepositoryNotFoundError):
            api.model_info("user/none")
        with pytest.raises(RepositoryNotFoundError):
            api.dataset_info(repo_id)
        with pytest.raises(RevisionNotFoundError):
            api.model_info(repo_id, revision="v2")
        with pytest.raises(EntryNotFoundError):
            api.hf_hub_download(repo_id, "none.txt", cache_dir=tmp_path)
        with pytest.raises(HfHubHTTPError, match="409"):
            api.create_repo(repo_id)
        assert api.create_repo(repo_id, exist_ok=True).repo_id == repo_id

    @pytest.mark.parametrize(("token", "status"), [(OTHER_TOKEN, 404), (False, 401)])
    def test_what_is_private(self, hub: HubServer, repo_id: str, token: Any, status: int) -> None:
        stranger = HfApi(endpoint=hub.url, token=token)
        with pytest.raises(RepositoryNotFoundError) as caught:
            stranger.model_info(repo_id)
        assert caught.value.response.status_code == status
        hub.repo(repo_id).private = False
        assert stranger.model_info(repo_id).sha == hub.repo(repo_id).head.oid

    def test_a_large_file_has_to_arrive_first(self, hub: HubServer, api: HfApi, repo_id: str) -> None:
        hub.faults.append(Fault("PUT", "/lfs-upload/", status=200))
        addition = CommitOperationAdd("more.safetensors", b"1" * 1000)
        with pytest.raises(RuntimeError, match="Error while uploading"):
            api.create_commit(repo_id, [addition], commit_message="More")
        hub.faults.append(Fault("PUT", "/lfs-upload/", status=200))
        hub.faults.append(Fault("POST", "/lfs-verify/", status=200))
        with pytest.raises(BadRequestError, match="points to a file that does not exist"):
            api.create_commit(repo_id, [addition], commit_message="More")

    def test_collections(self, api: HfApi, repo_id: str) -> None:
        slug = api.create_collection("Emotions", namespace="user", description="All of them").slug
        api.add_collection_item(slug, repo_id, "model")
        assert [item.item_id for item in api.get_collection(slug).items] == [repo_id]
        assert [collection.slug for collection in api.list_collections(owner="user")] == [slug]
        assert not list(api.list_collections(owner="other"))


@pytest.mark.slow
def test_a_stranger_runs_a_published_model(
    hub: HubServer,
    api: HfApi,
    tmp_path: Path,
    model: StackedEmotionForSequenceClassification,
    tokenizer: StackedEmotionTokenizer,
) -> None:
    model.config.thresholds = [0.4, 0.5, 0.6, 0.5]
    saved = write_model_folder(tmp_path / "saved", model, tokenizer, {"README.md": "# A card\n"})
    commit = publish(saved, "user/repo", "model", api=api).commit
    # Another model on the branch: the revision says which one is meant.
    with torch.no_grad():
        expected = model(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits.numpy()
        model.classifier.bias.add_(3.0)
    write_model_folder(saved, model, tokenizer, {})
    publish(saved, "user/repo", "model", api=api)

    found = json.loads(run_stranger(hub, tmp_path / "home", STOCK_AND_CUSTOM, commit, json.dumps(TEXTS)))

    np.testing.assert_allclose(found["logits"], expected, atol=1e-6)
    labels = model.config.labels
    stock = [[scores[label] for label in labels] for scores in found["stock"]]
    np.testing.assert_allclose(stock, 1 / (1 + np.exp(-expected)), atol=1e-6)
    assert len(found["custom"]) == len(TEXTS)
    assert found["task"] == "emotion-classification"
    assert hub.repo("user/repo").private


@pytest.mark.slow
def test_a_stranger_loads_a_published_data_set(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, List, Value

    features = Features({"text": Value("string"), "labels": List(ClassLabel(names=["anger", "joy"]))})
    source = tmp_path / "source"
    source.mkdir()
    rows = {"text": ["so happy", "أنا غاضب", "both"], "labels": [[1], [0], [0, 1]]}
    for name, number in (("train", 3), ("test", 1), ("more", 2)):
        part = {column: values[:number] for column, values in rows.items()}
        Dataset.from_dict(part, features=features).to_parquet(source / f"{name}.parquet")
    configs = [
        {"config_name": "default", "data_files": [{"split": s, "path": f"{s}.parquet"} for s in ("train", "test")]},
        {"config_name": "augmented", "data_files": [{"split": "train", "path": "more.parquet"}]},
    ]
    (source / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n# A card\n", encoding="utf-8")
    commit = publish(source, "user/data", "dataset", api=api).commit

    code = """
import json, sys
from datasets import load_dataset

data = load_dataset("user/data", revision=sys.argv[1] or None)
more = load_dataset("user/data", "augmented", split="train")
found = {split: [data[split]["text"][:], data[split]["labels"][:]] for split in data}
names = data["train"].features["labels"].feature.names
print(json.dumps({"found": found, "names": names, "more": more["text"][:]}))
"""
    for number, revision in enumerate(["", commit]):
        found = json.loads(run_stranger(hub, tmp_path / f"home{number}", code, revision))
        assert found["found"] == {"train": list(rows.values()), "test": [["so happy"], [[1]]]}
        assert found["names"] == ["anger", "joy"]
        assert found["more"] == rows["text"][:2]
