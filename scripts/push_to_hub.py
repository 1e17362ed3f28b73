# SPDX-License-Identifier: Apache-2.0
"""
Stage, validate and publish a model, a data set, the metric or the demo on the Hub.

Usage:
    python -m scripts.push_to_hub model --model DIR --repo_id USER/NAME [--sibling DIR]
    python -m scripts.push_to_hub dataset --dataset DIR --repo_id USER/NAME
    python -m scripts.push_to_hub metric --repo_id USER/multilabel_emotion
    python -m scripts.push_to_hub demo --model_id USER/NAME --repo_id USER/NAME-demo
    python -m scripts.push_to_hub all --model DIR --dataset DIR --namespace USER

One commit per repository makes it equal to the staged folder; what is equal already gets none. New repositories are
private. Nothing is published before everything is staged and valid. With `--dry_run` the plan is printed and the
staged folders are left. The token is that of `hf auth login` or of HF_TOKEN; it needs write access.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from scripts._command import command
from trainer_ext.errors import InputError, reading

if TYPE_CHECKING:
    from hub.publishing.publish import Plan, Published


class _Job(NamedTuple):
    """A repository to publish; `source` is the folder that it is made from, if any."""

    kind: str
    repo_id: str
    source: Path | None = None
    name: str | None = None

    @property
    def folder_name(self) -> str:
        return self.name or self.kind


def make_parser() -> argparse.ArgumentParser:
    """The parser; it imports nothing heavy."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.push_to_hub",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common = _common_options()
    commands = parser.add_subparsers(dest="command", required=True, metavar="{model,dataset,metric,demo,all}")
    helps = {
        "model": "a trained folder",
        "dataset": "a folder that scripts.build_balanced_dataset left",
        "metric": "the metric for `evaluate`, a Space",
        "demo": "the Gradio Space of a model",
        "all": "all four, tied together in a collection",
    }
    made = {name: commands.add_parser(name, help=text, parents=[common]) for name, text in helps.items()}
    for name in ("model", "dataset", "metric", "demo"):
        made[name].add_argument("--repo_id", required=True, metavar="USER/NAME", help="the repository")
    for name in ("model", "all"):
        _add_model_options(made[name])
    for name in ("dataset", "all"):
        made[name].add_argument("--dataset", required=True, type=Path, metavar="DIR", help="folder of the data set")
    made["demo"].add_argument("--model_id", required=True, metavar="USER/NAME", help="the model on the Hub")
    made["demo"].add_argument("--model_revision", help="its commit, tag or branch (default: main)")
    made["all"].add_argument("--namespace", required=True, metavar="USER", help="user or organisation")
    made["all"].add_argument(
        "--name", default="stacked-emotion", help="the model; the demo's ends in -demo (default: stacked-emotion)"
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
    parser.add_argument("--language", nargs="+", metavar="CODE", help="of the model (default: of its encoders)")
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
    """Stage, validate, publish; returns what was published, in this order."""
    options = make_parser().parse_args(argv)
    with _staging_folder(options) as root:
        jobs = _jobs(options)
        for job in jobs:
            _stage(job, options, root / job.folder_name)
        _validate(jobs, root)
        if options.dry_run:
            for job in jobs:
                _print_plan(job, options, root / job.folder_name)
            return []
        published = [_publish(job, options, root / job.folder_name) for job in jobs]
        if options.command == "all" and not options.create_pr:
            _collect(jobs, options)
        return published


@contextmanager
def _staging_folder(options: argparse.Namespace) -> Iterator[Path]:
    if options.dry_run:
        yield options.staging_dir
        return
    with TemporaryDirectory() as folder:
        yield Path(folder)


def _jobs(options: argparse.Namespace) -> list[_Job]:
    if options.create_pr and options.tag:
        raise InputError("A pull request gets no tag: leave --tag out, and give it when the request is merged.")
    if options.command == "all":
        model_id = f"{options.namespace}/{options.name}"
        return [
            _Job("metric", f"{options.namespace}/multilabel_emotion"),
            _Job("dataset", f"{options.namespace}/{options.dataset.resolve().name}", options.dataset),
            *_model_jobs(model_id, options),
            _Job("demo", f"{model_id}-demo"),
        ]
    if options.command == "model":
        return _model_jobs(options.repo_id, options)
    return [_Job(options.command, options.repo_id, getattr(options, "dataset", None))]


def _model_jobs(repo_id: str, options: argparse.Namespace) -> list[_Job]:
    jobs = [_Job("model", repo_id, options.model)]
    if options.sibling:
        jobs.append(_Job("model", f"{repo_id}-distilled", options.sibling, "sibling"))
    return jobs


def _stage(job: _Job, options: argparse.Namespace, target: Path) -> None:
    from hub.staging import staged

    print(f"Staging the {job.folder_name} {job.repo_id} ...", flush=True)
    with staged(target) as folder:
        if job.kind == "model":
            _stage_model(job, options, folder)
        elif job.kind == "dataset":
            from hub.dataset.staging import stage_dataset

            assert job.source is not None
            stage_dataset(job.source, folder, repo_id=job.repo_id)
        elif job.kind == "metric":
            from hub.metric.staging import stage_metric

            stage_metric(folder, repo_id=job.repo_id)
        else:
            from hub.demo.staging import stage_demo

            model_id, model_revision = _demo_model(options)
            stage_demo(folder, repo_id=job.repo_id, model_id=model_id, model_revision=model_revision)


def _stage_model(job: _Job, options: argparse.Namespace, folder: Path) -> None:
    from hub.model.staging import stage_model

    encoders = dict(entry.partition("=")[::2] for entry in options.encoder)
    if not all(encoders.values()):
        raise InputError(f"--encoder must be NAME=ID, got {' '.join(options.encoder)}.")
    assert job.source is not None
    languages = stage_model(
        job.source,
        folder,
        repo_id=job.repo_id,
        revision=options.tag or options.revision,
        onnx=options.onnx,
        language=options.language,
        license=options.license,
        encoders=encoders if job.name is None else None,
        dataset=options.trained_on,
    )
    if not languages:
        print("  no language is known of its encoders, and the card's examples are English: give --language CODE")


def _demo_model(options: argparse.Namespace) -> tuple[str, str | None]:
    if options.command == "demo":
        return options.model_id, options.model_revision
    return f"{options.namespace}/{options.name}", options.tag or options.revision


def _validate(jobs: list[_Job], root: Path) -> None:
    from hub.validation.validate import validate

    problems = [
        f"{job.folder_name}: {problem}"
        for job in jobs
        for problem in validate(root / job.folder_name, job.kind, repo_id=job.repo_id)
    ]
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        raise InputError(f"{len(problems)} problems in what was staged, and nothing was published; mend them first.")


def _repo_type(job: _Job) -> str:
    return job.kind if job.kind in ("model", "dataset") else "space"


def _print_plan(job: _Job, options: argparse.Namespace, folder: Path) -> None:
    from huggingface_hub.errors import LocalTokenNotFoundError

    from hub.publishing.publish import local_plan, plan

    choices: dict[str, Any] = {"revision": options.revision, "private": not options.public}
    notes = [f"  staged in {folder}"]
    try:
        found: Plan = plan(folder, job.repo_id, _repo_type(job), **choices)
    except (ConnectionError, LocalTokenNotFoundError) as error:
        found = local_plan(folder, job.repo_id, _repo_type(job), **choices)
        notes.append(f"  the Hub was not looked at: {error}")
    if found.private and options.public:
        notes.append("  becomes visible to everyone")
    print("\n".join(["", *found.lines(), *notes]))


def _publish(job: _Job, options: argparse.Namespace, folder: Path) -> Published:
    from huggingface_hub import constants

    from hub.publishing.publish import publish

    repo_type = _repo_type(job)
    with reading(f"{repo_type} {job.repo_id}"):
        done = publish(
            folder,
            job.repo_id,
            repo_type,
            private=not options.public,
            tag=options.tag,
            create_pr=options.create_pr,
            revision=options.revision,
            message=options.message or f"Publish {options.tag or ''}".strip(),
        )
    print("\n".join(["", *done.plan.lines()]))
    page = f"{constants.ENDPOINT}/{'' if repo_type == 'model' else repo_type + 's/'}{job.repo_id}"
    print(
        f"  {'no new commit' if done.plan.is_empty else 'done'}: {done.pull_request or f'{page}/tree/{done.commit}'}"
    )
    return done


def _collect(jobs: list[_Job], options: argparse.Namespace) -> None:
    from huggingface_hub import constants

    from hub.publishing.publish import add_to_collection

    items = [(job.repo_id, _repo_type(job)) for job in jobs]
    slug = add_to_collection(options.collection, options.namespace, items, private=not options.public)
    print(f"\ncollection {options.collection}: {constants.ENDPOINT}/collections/{slug}")


if __name__ == "__main__":
    main()
