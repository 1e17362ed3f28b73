# SPDX-License-Identifier: Apache-2.0
"""
Stage, validate and publish a model, a data set, the metric, the demo or the page of a model on the Hub.

Usage:
    python -m scripts.push_to_hub model --model DIR --repo_id USER/NAME [--sibling DIR]
    python -m scripts.push_to_hub dataset --dataset DIR --repo_id USER/NAME
    python -m scripts.push_to_hub metric --repo_id USER/multilabel_emotion
    python -m scripts.push_to_hub demo --model_id USER/NAME --repo_id USER/NAME-demo
    python -m scripts.push_to_hub browser --model DIR --model_id USER/NAME --repo_id USER/NAME-browser
    python -m scripts.push_to_hub all --model DIR --dataset DIR --namespace USER

One commit per repository makes it equal to the staged folder; an equal one gets none. New repositories are private.
Nothing is published before everything is staged and valid. With `--dry_run` the plan is printed and the
staged folders are left. The token is that of `hf auth login` or of HF_TOKEN; it needs write access.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from trainer_ext.errors import InputError

from ._command import command, command_parser

if TYPE_CHECKING:
    from hub.publish import Published


class _Job(NamedTuple):
    """A repository to publish; `stage` fills the empty folder that it is given."""

    kind: str
    repo_id: str
    stage: Callable[..., Any]
    name: str | None = None

    @property
    def folder_name(self) -> str:
        return self.name or self.kind

    @property
    def repo_type(self) -> str:
        return self.kind if self.kind in ("model", "dataset") else "space"


def make_parser() -> argparse.ArgumentParser:
    """The parser; it imports nothing heavy."""
    parser = command_parser("push_to_hub", __doc__)
    common = _common_options()
    commands = parser.add_subparsers(dest="command", required=True, metavar="{model,dataset,metric,demo,browser,all}")
    helps = {
        "model": "a trained folder",
        "dataset": "a folder that scripts.build_balanced_dataset left",
        "metric": "the metric for `evaluate`, a Space",
        "demo": "the Gradio Space of a model",
        "browser": "the static Space that runs a model in the visitor's browser",
        "all": "all five, tied together in a collection",
    }
    made = {name: commands.add_parser(name, help=text, parents=[common]) for name, text in helps.items()}
    for name in ("model", "dataset", "metric", "demo", "browser"):
        made[name].add_argument("--repo_id", required=True, metavar="USER/NAME", help="the repository")
    for name in ("model", "all"):
        _add_model_options(made[name])
    for name in ("dataset", "all"):
        made[name].add_argument("--dataset", required=True, type=Path, metavar="DIR", help="folder of the data set")
    made["browser"].add_argument("--model", required=True, type=Path, metavar="DIR", help="folder of the model")
    for name in ("demo", "browser"):
        made[name].add_argument("--model_id", required=True, metavar="USER/NAME", help="the model on the Hub")
        made[name].add_argument("--model_revision", help="its commit, tag or branch (default: main)")
    made["all"].add_argument("--namespace", required=True, metavar="USER", help="user or organisation")
    made["all"].add_argument(
        "--name",
        default="stacked-emotion",
        help="the model; the Spaces' end in -demo and -browser (default: stacked-emotion)",
    )
    made["all"].add_argument("--collection", default="Stacked emotion", help="its title (default: Stacked emotion)")
    return parser


def _common_options() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--dry_run", action="store_true", help="print the plan, leave the staged folder")
    common.add_argument(
        "--staging_dir", type=Path, default=Path("outputs/staged"), help="of --dry_run (default: outputs/staged)"
    )
    common.add_argument("--public", action="store_true", help="visible to everyone (default: as it is, new ones not)")
    common.add_argument("--tag", help="version of the commit, such as v1.0.0; the snippets of the card name it")
    common.add_argument("--create_pr", action="store_true", help="make the commit in a pull request")
    common.add_argument("--revision", default="main", help="the branch (default: main)")
    common.add_argument("--message", help="title of the commit (default: Publish and the tag)")
    return common


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, type=Path, metavar="DIR", help="folder of the trained model")
    parser.add_argument(
        "--sibling", type=Path, metavar="DIR", help="folder of the distilled encoder, published as NAME-distilled"
    )
    parser.add_argument("--onnx", action="store_true", help="add the model as ONNX, in fp32 and int8")
    parser.add_argument(
        "--language", nargs="+", metavar="CODE", help="of the model (default: of its training texts, or its encoders)"
    )
    parser.add_argument("--license", default="apache-2.0", help="of the model (default: apache-2.0)")
    parser.add_argument(
        "--encoder",
        action="append",
        default=[],
        metavar="NAME=ID",
        help="Hub id of an encoder that training read from a folder",
    )
    parser.add_argument("--trained_on", metavar="ID", help="Hub id of a data set that training read from files")


@command
def main(argv: Sequence[str] | None = None) -> list[Published]:
    """Stage, validate, publish; returns the published commits, in this order."""
    options = make_parser().parse_args(argv)
    if options.create_pr and options.tag:
        raise InputError("A pull request gets no tag: leave --tag out, and give it when the request is merged.")
    from hub.staging import check_repo_id

    jobs = _jobs(options)
    for job in jobs:
        check_repo_id("repo_id", job.repo_id)
    if options.command in ("demo", "browser"):
        check_repo_id("model_id", options.model_id)
    with nullcontext(options.staging_dir) if options.dry_run else TemporaryDirectory() as root:
        folders = {Path(root) / job.folder_name: job for job in jobs}
        for folder, job in folders.items():
            _stage(job, folder)
        _validate(folders)
        if options.dry_run:
            for folder, job in folders.items():
                _print_plan(job, folder, options)
            return []
        published = [_publish(job, folder, options) for folder, job in folders.items()]
        if options.command == "all" and not options.create_pr:
            _collect(folders.values(), options)
        return published


def _jobs(options: argparse.Namespace) -> list[_Job]:
    from hub.browser.staging import browser_problem, stage_browser
    from hub.dataset.staging import stage_dataset
    from hub.demo.staging import stage_demo
    from hub.metric.staging import stage_metric

    if options.command == "model":
        return _model_jobs(options.repo_id, options)
    if options.command == "dataset":
        return [_Job("dataset", options.repo_id, partial(stage_dataset, options.dataset))]
    if options.command == "metric":
        return [_Job("metric", options.repo_id, stage_metric)]
    if options.command in ("demo", "browser"):
        model = {"model_id": options.model_id, "model_revision": options.model_revision}
        stage = stage_demo if options.command == "demo" else partial(stage_browser, options.model)
        return [_Job(options.command, options.repo_id, partial(stage, **model))]
    model_id = f"{options.namespace}/{options.name}"
    model = {"model_id": model_id, "model_revision": options.tag or options.revision}
    dataset_id = f"{options.namespace}/{options.dataset.resolve().name}"
    pages = []
    if problem := browser_problem(options.model):
        print(f"Without a page for the browser: {problem}")
    else:
        pages.append(_Job("browser", f"{model_id}-browser", partial(stage_browser, options.model, **model)))
    return [
        _Job("metric", f"{options.namespace}/multilabel_emotion", stage_metric),
        _Job("dataset", dataset_id, partial(stage_dataset, options.dataset)),
        *_model_jobs(model_id, options, page=pages[0].repo_id if pages else None),
        _Job("demo", f"{model_id}-demo", partial(stage_demo, **model)),
        *pages,
    ]


def _model_jobs(repo_id: str, options: argparse.Namespace, page: str | None = None) -> list[_Job]:
    from hub.model.staging import stage_model

    encoders = dict(entry.partition("=")[::2] for entry in options.encoder)
    if not all(encoders.values()):
        raise InputError(f"--encoder must be NAME=ID, got {' '.join(options.encoder)}.")
    stage = partial(
        stage_model,
        revision=options.tag or options.revision,
        onnx=options.onnx,
        language=options.language,
        license=options.license,
        dataset=options.trained_on,
    )
    jobs = [_Job("model", repo_id, partial(stage, options.model, encoders=encoders, page=page))]
    if options.sibling:
        jobs.append(_Job("model", f"{repo_id}-distilled", partial(stage, options.sibling), "sibling"))
    return jobs


def _stage(job: _Job, target: Path) -> None:
    from hub.staging import staged

    print(f"Staging the {job.folder_name} {job.repo_id} ...", flush=True)
    with staged(target) as folder:
        languages = job.stage(folder, repo_id=job.repo_id)
    if job.kind == "model" and not languages:
        print("  no language is known of its encoders, and the card's examples are English: give --language CODE")


def _validate(folders: Mapping[Path, _Job]) -> None:
    from hub.validation.validate import validate

    problems = [
        f"{job.folder_name}: {problem}"
        for folder, job in folders.items()
        for problem in validate(folder, job.kind, repo_id=job.repo_id)
    ]
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        raise InputError(f"{len(problems)} problems in the staged folders, nothing was published; mend them first.")


def _print_plan(job: _Job, folder: Path, options: argparse.Namespace) -> None:
    from huggingface_hub.errors import LocalTokenNotFoundError

    from hub.publish import local_plan, plan

    settings = {"revision": options.revision, "private": not options.public}
    notes = [f"  staged in {folder}"]
    try:
        changes = plan(folder, job.repo_id, job.repo_type, **settings)
    except (ConnectionError, LocalTokenNotFoundError) as error:
        changes = local_plan(folder, job.repo_id, job.repo_type, **settings)
        notes.append(f"  the Hub was not looked at: {error}")
    if changes.private and options.public:
        notes.append("  becomes visible to everyone")
    print("\n".join(["", *changes.lines(), *notes]))


def _publish(job: _Job, folder: Path, options: argparse.Namespace) -> Published:
    from huggingface_hub import constants

    from hub.publish import publish

    published = publish(
        folder,
        job.repo_id,
        job.repo_type,
        private=not options.public,
        tag=options.tag,
        create_pr=options.create_pr,
        revision=options.revision,
        message=options.message or f"Publish {options.tag or ''}".strip(),
    )
    page = f"{constants.ENDPOINT}/{'' if job.repo_type == 'model' else job.repo_type + 's/'}{job.repo_id}"
    outcome = "no new commit" if published.plan.is_empty else "done"
    address = published.pull_request or f"{page}/tree/{published.commit}"
    print("\n".join(["", *published.plan.lines(), f"  {outcome}: {address}"]))
    return published


def _collect(jobs: Iterable[_Job], options: argparse.Namespace) -> None:
    from huggingface_hub import constants

    from hub.publish import add_to_collection

    items = [(job.repo_id, job.repo_type) for job in jobs]
    slug = add_to_collection(options.collection, options.namespace, items, private=not options.public)
    print(f"\ncollection {options.collection}: {constants.ENDPOINT}/collections/{slug}")


if __name__ == "__main__":
    main()
