"""A small server that speaks Kubeflow Pipelines' REST API v2beta1 as its own client does, and can be told to refuse.

It keeps what it is told and remembers every request. It answers as a real server did: recorded/. The tasks of a run are
those of workflow_nodes.py.
"""

import base64
import gzip
import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.pipelines.workflow_nodes import NOT_YET, at

V2 = "/apis/v2beta1"


@dataclass(frozen=True)
class Request:
    """A request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Answer:
    """What is answered instead of what would be."""

    status: int
    body: str = ""
    kind: str = "application/json"
    seconds: float = 0
    times: int = 10**6


def refusal(status: int, message: str, code: int = 3, detail: str = "") -> Answer:
    """A refusal in the form of KFP's gateway."""
    details = [{"@type": "type.googleapis.com/google.rpc.Status", "code": code, "message": detail or message}]
    return Answer(status, json.dumps({"code": code, "message": message, "details": details}))


def no_log(run_id: str, node: str) -> Answer:
    """That there is no log: with status 200, as text."""
    key = f"/artifacts/osteon-training-x7k2p/{node}/main.log"
    message = (
        f"BadRequestError: Failed to read logs for run {run_id}: InternalServerError: Failed to read logs from archive "
        f"{node} due to error fetching the log file: InternalServerError: Failed to get file reader for {key}: blob "
        f'(key "{key}") (code=NotFound): operation error S3: GetObject, https response error StatusCode: 404, '
        "RequestID: …, HostID: …, NoSuchKey: The specified key does not exist."
    )
    return Answer(200, json.dumps({"error_message": message, "error_details": message}), "text/plain; charset=utf-8")


@dataclass
class Kfp:
    """What the server has and does."""

    pipelines: list[dict[str, Any]] = field(default_factory=list)
    versions: list[dict[str, Any]] = field(default_factory=list)
    uploads: list[bytes] = field(default_factory=list)
    experiments: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    recurring: list[dict[str, Any]] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)  # by the name of a pod or the id of a node
    archived: dict[str, str] = field(default_factory=dict)  # Argo's artefacts main-logs, by the id of a node
    pods: dict[str, Any] = field(default_factory=dict)  # as Kubernetes has them, by name; for the server of the pages
    messages: dict[str, str] = field(default_factory=dict)  # Argo's, by the id of a node, in the older API
    # What the next run goes through, each time it is looked at; the last one stays.
    plays: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)  # by "METHOD /path", a regular expression
    requests: list[Request] = field(default_factory=list)
    then: Callable[[Request], None] = lambda request: None  # done after each request
    multi_user: bool = False
    serves_pages: bool = False  # it is the server of the pages, which passes on v2beta1 alone
    address: str = ""

    def sent(self, method: str, path: str) -> list[Request]:
        """The requests of a kind, the path without /apis/v2beta1."""
        return [
            request
            for request in self.requests
            if request.method == method and re.fullmatch(f"{V2}{path}", request.path)
        ]

    def add_run(self, run_id: str, parameters: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
        """A run that is there already."""
        run = {
            "run_id": run_id,
            "display_name": f"osteon-training {run_id}",
            "experiment_id": more.pop("experiment_id", "e0"),
            "created_at": at(len(self.runs)),
            "runtime_config": {"parameters": parameters or {}},
            "finished_at": NOT_YET,
            "state": "SUCCEEDED",
            **more,
        }
        self.runs.append(run)
        return run


class _RefusedError(Exception):
    def __init__(self, answer: Answer) -> None:
        self.answer = answer


def _not_found(kind: str, name: str) -> _RefusedError:
    message = f"Failed to get a {kind.lower()}: ResourceNotFoundError: {kind} {name} not found"
    return _RefusedError(refusal(404, message, 5, f"{kind} {name} not found"))


def _page_of(items: list[dict[str, Any]], query: dict[str, str], key: str) -> dict[str, Any]:
    for predicate in json.loads(query.get("filter") or "{}").get("predicates", ()):
        assert predicate["operation"] == "EQUALS", predicate
        items = [item for item in items if item.get(predicate["key"]) == predicate["stringValue"]]
    for name in ("experiment_id", "namespace"):
        if query.get(name):
            items = [item for item in items if item.get(name) == query[name]]
    if query.get("sort_by", "").endswith("desc"):
        items = sorted(items, key=lambda item: str(item["created_at"]), reverse=True)
    size, begin = int(query.get("page_size") or 10), int(query.get("page_token") or 0)
    # Nothing is told of what is empty.
    page: dict[str, Any] = {"total_size": len(items)} if items else {}
    if items[begin : begin + size]:
        page[key] = items[begin : begin + size]
    if begin + size < len(items):
        page["next_page_token"] = str(begin + size)
    return page


def _find(items: list[dict[str, Any]], key: str, wanted: str) -> dict[str, Any]:
    for item in items:
        if item[key] == wanted:
            return item
    raise _not_found(key.removesuffix("_id").title(), wanted)


Route = Callable[[Kfp, Request, tuple[str, ...]], Any]
ROUTES: list[tuple[str, str, Route]] = []


def route(method: str, path: str) -> Callable[[Route], Route]:
    def keep(function: Route) -> Route:
        ROUTES.append((method, path, function))
        return function

    return keep


@route("GET", f"{V2}/healthz")
def _health(kfp: Kfp, request: Request, _: tuple[str, ...]) -> Any:
    versions = {"commit_sha": "unknown", "tag_name": "unknown"}
    return {**versions, "multi_user": kfp.multi_user, "pipeline_store": "database"}


@route("GET", f"{V2}/pipelines")
def _pipelines(kfp: Kfp, request: Request, _: tuple[str, ...]) -> Any:
    return _page_of(kfp.pipelines, request.query, "pipelines")


@route("POST", f"{V2}/pipelines")
def _new_pipeline(kfp: Kfp, request: Request, _: tuple[str, ...]) -> Any:
    name = request.body["display_name"]
    if any(pipeline["display_name"] == name for pipeline in kfp.pipelines):
        fault = f"Failed to create a new pipeline. The name {name} already exist. Please specify a new name"
        raise _RefusedError(
            refusal(409, f"Failed to create a pipeline due to server error: Already exist error: {fault}", 6, fault)
        )
    made = {"pipeline_id": f"p{len(kfp.pipelines)}", "name": name, "created_at": at(0), **request.body}
    kfp.pipelines.append(made)
    return made


@route("POST", f"{V2}/pipelines/upload_version")
def _new_version(kfp: Kfp, request: Request, _: tuple[str, ...]) -> Any:
    pipeline = _find(kfp.pipelines, "pipeline_id", request.query["pipelineid"])["pipeline_id"]
    name = request.query["name"]
    if any((version["pipeline_id"], version["display_name"]) == (pipeline, name) for version in kfp.versions):
        raise _RefusedError(refusal(409, f"Already exist error: The name {name} already exist", 6))
    kfp.uploads.append(request.body)
    made = {
        "pipeline_id": pipeline,
        "pipeline_version_id": f"v{len(kfp.versions)}",
        "display_name": name,
        "description": request.query.get("description", ""),
        "created_at": at(len(kfp.versions)),
    }
    kfp.versions.append(made)
    return made


@route("GET", f"{V2}/pipelines/([^/]+)/versions")
def _versions(kfp: Kfp, request: Request, groups: tuple[str, ...]) -> Any:
    return _page_of(
        [version for version in kfp.versions if version["pipeline_id"] == groups[0]], request.query, "pipeline_versions"
    )


@route("GET", f"{V2}/pipelines/([^/]+)/versions/([^/]+)")
def _version(kfp: Kfp, request: Request, groups: tuple[str, ...]) -> Any:
    return _find(kfp.versions, "pipeline_version_id", groups[1])


@route("GET", f"{V2}/experiments")
def _experiments(kfp: Kfp, request: Request, _: tuple[str, ...]) -> Any:
    return _page_of(kfp.experiments, request.query, "experiments")


@route("POST", f"{V2}/experiments")
def _new_experiment(kfp: Kfp, request: Request, _: tuple[str, ...]) -> Any:
    made = {"experiment_id": f"e{len(kfp.experiments)}", "created_at": at(0), **request.body}
    kfp.experiments.append(made)
    return made


@route("POST", f"{V2}/runs")
def _new_run(kfp: Kfp, request: Request, _: tuple[str, ...]) -> Any:
    made = {
        **request.body,
        "run_id": f"5b0e0000-0000-4000-8000-00000000000{len(kfp.runs)}",
        "storage_state": "AVAILABLE",
        "service_account": "pipeline-runner",
        "created_at": at(0),
        "scheduled_at": at(0),
        "finished_at": NOT_YET,
        "state": "PENDING",
        "state_history": [{"update_time": at(0), "state": "PENDING"}],
    }
    kfp.runs.append({**made, "plays": list(kfp.plays)})
    return made


@route("GET", f"{V2}/runs")
def _runs(kfp: Kfp, request: Request, _: tuple[str, ...]) -> Any:
    return _page_of([{key: run[key] for key in run if key != "plays"} for run in kfp.runs], request.query, "runs")


@route("GET", f"{V2}/runs/([^/:]+)")
def _run(kfp: Kfp, request: Request, groups: tuple[str, ...]) -> Any:
    run = _find(kfp.runs, "run_id", groups[0])
    plays = run.get("plays") or []
    if plays:
        run.update(plays.pop(0) if len(plays) > 1 else plays[0])
    return {key: run[key] for key in run if key != "plays"}


@route("POST", f"{V2}/runs/([^/:]+):terminate")
def _terminate(kfp: Kfp, request: Request, groups: tuple[str, ...]) -> Any:
    """The run is CANCELING the next time that it is looked at, and then FAILED; its open tasks are FAILED."""
    run = _find(kfp.runs, "run_id", groups[0])
    history = [*run.get("state_history", ()), {"update_time": at(700), "state": "CANCELING"}]
    tasks = run.get("run_details", {}).get("task_details", [])
    ended = [
        {**task, "state": "FAILED", "end_time": at(705)} if task.get("state") in ("RUNNING", "PENDING") else task
        for task in tasks
    ]
    canceling = {"state": "CANCELING", "state_history": history}
    last = {"update_time": at(723), "state": "FAILED"}
    run["plays"] = [
        canceling,
        {
            "state": "FAILED",
            "finished_at": at(723),
            "state_history": [*history, last],
            "run_details": {"task_details": ended},
        },
    ]
    run.update(canceling)
    return {}


@route("POST", f"{V2}/runs/([^/:]+):retry")
def _retry(kfp: Kfp, request: Request, groups: tuple[str, ...]) -> Any:
    """As KFP's source has it; no real server was recorded doing it."""
    run = _find(kfp.runs, "run_id", groups[0])
    if run["state"] not in ("FAILED", "CANCELED"):
        raise _RefusedError(refusal(400, "Failed to retry run: workflow must be Failed/Error to retry", 3))
    run.update({"state": "RUNNING", "finished_at": NOT_YET, "plays": list(kfp.plays)})
    return {}


def _page() -> Answer:
    return Answer(200, "<!doctype html><title>Kubeflow Pipelines</title>", "text/html; charset=UTF-8")


@route("GET", "/apis/v1alpha1/runs/([^/]+)/nodes/([^/]+)/log")
def _log(kfp: Kfp, request: Request, groups: tuple[str, ...]) -> Any:
    if kfp.serves_pages:
        return _page()
    if groups[1] not in kfp.logs:
        return no_log(*groups)
    return Answer(200, kfp.logs[groups[1]], "text/plain; charset=utf-8")


@route("GET", f"{V2}/runs/([^/]+)/nodes/([^/]+)/artifacts/main-logs:read")
def _artefact(kfp: Kfp, request: Request, groups: tuple[str, ...]) -> Any:
    if groups[1] not in kfp.archived:
        raise _RefusedError(refusal(404, f"ResourceNotFoundError: artifact main-logs not found of node {groups[1]}", 5))
    return {"data": base64.b64encode(kfp.archived[groups[1]].encode()).decode()}


@route("GET", "/apis/v1beta1/runs/([^/:]+)")
def _older_run(kfp: Kfp, request: Request, groups: tuple[str, ...]) -> Any:
    if not kfp.messages:
        raise _not_found("Page", request.path)
    nodes = json.dumps({node: {"id": node, "message": message} for node, message in kfp.messages.items()})
    packed = {"compressedNodes": base64.b64encode(gzip.compress(nodes.encode())).decode()}
    manifest = json.dumps({"status": packed if len(kfp.messages) > 1 else {"nodes": json.loads(nodes)}})
    return {"run": {"id": groups[0]}, "pipeline_runtime": {"workflow_manifest": manifest}}


@route("GET", "/k8s/pod/logs")
def _page_log(kfp: Kfp, request: Request, _: tuple[str, ...]) -> Any:
    if not kfp.serves_pages:
        raise _not_found("Page", request.path)
    if request.query["podname"] not in kfp.logs:
        return Answer(500, "Could not get main container logs: Error: no archive", "text/plain")
    return Answer(200, kfp.logs[request.query["podname"]], "text/plain")


@route("GET", "/k8s/pod")
def _pod(kfp: Kfp, request: Request, _: tuple[str, ...]) -> Any:
    if not kfp.serves_pages:
        raise _not_found("Page", request.path)
    if request.query["podname"] not in kfp.pods:
        return Answer(500, "Could not get pod", "text/plain")
    return kfp.pods[request.query["podname"]]


@route("GET", f"{V2}/recurringruns")
def _recurring_runs(kfp: Kfp, request: Request, _: tuple[str, ...]) -> Any:
    return _page_of(kfp.recurring, request.query, "recurringRuns")


@route("POST", f"{V2}/recurringruns")
def _new_recurring_run(kfp: Kfp, request: Request, _: tuple[str, ...]) -> Any:
    # KFP makes a second one of the same name without a word.
    when = at(len(kfp.requests))
    made = {"recurring_run_id": f"j{len(kfp.requests)}", "created_at": when, "updated_at": when, **request.body}
    made |= {"namespace": "kubeflow", "max_concurrency": str(request.body["max_concurrency"])}
    made["status"] = "ENABLED" if made["mode"] == "ENABLE" else "DISABLED"
    kfp.recurring.append(made)
    return made


@route("GET", f"{V2}/recurringruns/([^/:]+)")
def _recurring_run(kfp: Kfp, request: Request, groups: tuple[str, ...]) -> Any:
    return _find(kfp.recurring, "recurring_run_id", groups[0])


@route("DELETE", f"{V2}/recurringruns/([^/:]+)")
def _delete_recurring_run(kfp: Kfp, request: Request, groups: tuple[str, ...]) -> Any:
    kfp.recurring.remove(_find(kfp.recurring, "recurring_run_id", groups[0]))
    return {}


@route("POST", f"{V2}/recurringruns/([^/:]+):disable")
def _disable(kfp: Kfp, request: Request, groups: tuple[str, ...]) -> Any:
    _find(kfp.recurring, "recurring_run_id", groups[0]).update(mode="DISABLE", status="DISABLED")
    return {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet an answer: else each waits 40 ms for the other side to say that it got the first
    kfp: Kfp

    def log_message(self, *words: Any) -> None:
        pass

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        headers = {key.lower(): value for key, value in self.headers.items()}
        kind, path = headers.get("content-type", ""), unquote(parts.path)
        body: Any = None
        if kind.startswith("multipart/"):
            message = message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + content)
            (part,) = message.get_payload()
            body = part.get_payload(decode=True)  # type: ignore[union-attr]
        elif content:
            body = json.loads(content)
        request = Request(self.command, path, query, headers, body)
        self.kfp.requests.append(request)
        answer = self._answer(request)
        self.kfp.then(request)
        time.sleep(answer.seconds)
        text = answer.body.encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _answer(self, request: Request) -> Answer:
        for pattern, answer in self.kfp.answers.items():
            if re.fullmatch(pattern, f"{request.method} {request.path}") and answer.times:
                answer.times -= 1
                return answer
        try:
            for method, path, function in ROUTES:
                match = re.fullmatch(path, request.path)
                if match and method == request.method:
                    answer = function(self.kfp, request, match.groups())
                    return answer if isinstance(answer, Answer) else Answer(200, json.dumps(answer))
        except _RefusedError as refused:
            return refused.answer
        return Answer(404, "Not Found\n", "text/plain")

    do_GET = do_POST = do_DELETE = _handle  # noqa: N815


@contextmanager
def kfp_server(certificate: Path | None = None) -> Iterator[Kfp]:
    """A server on a free port; with a certificate (and its key, in one file) it speaks TLS."""
    kfp = Kfp()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"kfp": kfp}))
    server.daemon_threads = True
    # Whoever gives up does not wait for the answer.
    server.handle_error = lambda *given: None  # type: ignore[method-assign]
    scheme = "http"
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    kfp.address = f"{scheme}://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield kfp
    finally:
        server.shutdown()
        server.server_close()
