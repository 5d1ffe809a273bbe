"""Kubeflow Pipelines on a cluster: the requests that Osteon makes, and each refusal as one line.

kfp.Client knows the ways to authenticate. It also prints for notebooks: so we call the services that it has made.
"""

import base64
import gzip
import json
import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import kfp.client
import kfp_server_api as api
import urllib3
from kfp.client import KF_PIPELINES_SA_TOKEN_ENV, ServiceAccountTokenVolumeCredentials
from kfp_server_api import ApiException
from urllib3 import exceptions

from osteon.errors import OsteonError, UnreachableError
from osteon.redaction import has_password, redact_url
from pipelines.compiled_file import CompiledFile

HOST, TOKEN_FILE, COOKIE = "OSTEON_KFP_HOST", "OSTEON_KFP_TOKEN_FILE", "OSTEON_KFP_COOKIE"
CONNECT, READ = 10, 60  # seconds until a server counts as one that does not answer
RETRIES = 2  # where no connection could be made
SYSTEM = "kubeflow"  # the namespace of KFP itself, and of its runs where it has a single user


class Cluster(NamedTuple):
    """Kubeflow Pipelines, and where in it; no namespace: it has a single user."""

    client: Any
    address: str
    namespace: str | None

    @property
    def pods_in(self) -> str:
        """The namespace of the runs' pods."""
        return self.namespace or SYSTEM

    def page(self, run_id: str) -> str:
        """The address of a run's page."""
        return f"{os.environ.get('KF_PIPELINES_UI_ENDPOINT') or self.address}/#/runs/details/{run_id}"


# ---------------------------------------------------------------- connecting


def connect(host: str | None, namespace: str | None, ca: Path | None) -> Cluster:
    """Connect to the server, with its own ways to authenticate, and check that it answers.

    Args:
        host: its address; None: OSTEON_KFP_HOST or, inside a cluster, the one there.
        namespace: of the runs; None: that of the pod, or none where KFP has a single user.
        ca: file with the certificates to trust.

    Raises:
        OsteonError: no address, no file, or the server does not let us in.
        UnreachableError: it does not answer.

    """
    host = host or os.environ.get(HOST) or os.environ.get("KF_PIPELINES_ENDPOINT")
    if not host and "KUBERNETES_SERVICE_HOST" not in os.environ:
        raise OsteonError(
            f"no cluster is named; give --host or set {HOST}, such as https://kubeflow.example/pipeline, or "
            f"http://localhost:8888 after `kubectl port-forward -n {SYSTEM} svc/ml-pipeline 8888:8888`"
        )
    if host:
        host = (host if "://" in host else f"https://{host}").partition("#")[0].rstrip("/")
        if has_password(host):
            shown = redact_url(host)
            raise OsteonError(f"{shown}: the address has a password; set {TOKEN_FILE} or {COOKIE} instead")
    if ca and not ca.is_file():
        raise OsteonError(f"--ca {ca}: no such file")
    # It logs each retry.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    # It warns of KFP 1 whenever it is made.
    with warnings.catch_warnings(action="ignore"), _translate(_shown(host)):
        client = _client(host, ca)
        address = str(client.api_client.configuration.host)
        health = client.healthzs.healthz_service_get_healthz()
    namespace = namespace or client.get_user_namespace() or None
    if namespace is None and health.multi_user:
        namespace = _namespace_of_this_pod(client)
    if address.startswith("http://") and _credentials() and not re.match(r"http://(localhost|127\.|\[::1\])", address):
        logging.getLogger(__name__).warning("warning: %s: without https, others can read the token or cookie", address)
    return Cluster(client, address, namespace)


class _KfpClient(kfp.client.Client):  # type: ignore[misc]
    """As KFP's, but it gives up in time, and does not ask for the server's health five times."""

    def _load_config(self, *given: Any) -> Any:
        config = super()._load_config(*given)
        # No second time for what may have been heard the first time.
        config.retries = urllib3.Retry(total=None, connect=RETRIES, read=0, status=0, other=0, redirect=5)
        return config

    def get_kfp_healthz(self, *_: Any) -> Any:
        # The client asks while it is made, before there is a time limit; connect() asks afterwards.
        return api.V2beta1GetHealthzResponse(multi_user=False)

    @property
    def api_client(self) -> Any:
        return self._run_api.api_client


def _client(host: str | None, ca: Path | None) -> Any:
    client = _KfpClient(
        host=host, credentials=_token(), cookies=os.environ.get(COOKIE) or None, ssl_ca_cert=str(ca) if ca else None
    )
    rest = client.api_client.rest_client
    ask = rest.request

    def request(*words: Any, **given: Any) -> Any:
        given["_request_timeout"] = given.get("_request_timeout") or (CONNECT, READ)
        response = ask(*words, **given)
        # Who is not logged in is led to a page where people log in; to the library that is an answer without content.
        if (response.getheader("content-type") or "").startswith("text/html"):
            raise _PageError
        return response

    rest.request = request
    return client


class _PageError(Exception):
    """A page for people came, not the API's answer."""


def _token() -> Any:
    name = next((name for name in (TOKEN_FILE, KF_PIPELINES_SA_TOKEN_ENV) if os.environ.get(name)), None)
    if name is None:
        return None
    try:
        empty = not Path(os.environ[name]).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise OsteonError(f"{name}={os.environ[name]}: cannot be read ({type(error).__name__})") from None
    if empty:
        raise OsteonError(f"{name}={os.environ[name]}: is empty; it must hold a token")
    # It is read again for each request: the kubelet renews it.
    return ServiceAccountTokenVolumeCredentials(os.environ[name])


def _namespace_of_this_pod(client: Any) -> str:
    try:
        return Path(client._NAMESPACE_PATH).read_text(encoding="utf-8").strip()
    except OSError:
        raise OsteonError("this Kubeflow has several users; give your namespace with --namespace") from None


# ---------------------------------------------------------------- errors


def _credentials() -> dict[str, str]:
    """What we authenticate with: its name and its content."""
    credentials = {COOKIE: os.environ.get(COOKIE, "")}
    for name in (TOKEN_FILE, "KF_PIPELINES_SA_TOKEN_PATH"):
        try:
            credentials[name] = Path(os.environ.get(name, "")).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            continue
    return {name: content for name, content in credentials.items() if content}


def _shown(host: str | None) -> str:
    return host or "Kubeflow Pipelines in this cluster"


@contextmanager
def translate_refusals(cluster: Cluster, doing: str, missing: str = "") -> Iterator[None]:
    """Turn what the server or the network refuses into one line.

    Args:
        cluster: which server.
        doing: what is done, for the beginning of the line.
        missing: what it means where there is no such thing, and what to do.

    Raises:
        OsteonError: instead of what the client raised.
        UnreachableError: nobody answered, or only somebody between us.

    """
    with _translate(cluster.address, doing, missing):
        yield


@contextmanager
def _translate(where: str, doing: str = "", missing: str = "") -> Iterator[None]:
    begin = f"{doing}: " if doing else ""
    try:
        yield
    except _PageError:
        how = _how_to_authenticate("to log in, ")
        raise OsteonError(f"{where}: the response is a web page; {how}") from None
    except exceptions.LocationValueError:
        raise OsteonError(f"{where}: is no address, such as https://kubeflow.example/pipeline") from None
    except (exceptions.HTTPError, OSError) as error:
        raise UnreachableError(_unreachable(where, error, begin)) from None
    except ApiException as error:
        if not error.status:
            raise UnreachableError(_unreachable(where, error, begin)) from None
        raise _refusal(where, error, begin, missing) from None


def _unreachable(where: str, error: Exception, begin: str) -> str:
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, exceptions.SSLError) or "SSLError" in str(reason)[:40]:
        return f"{where}: its certificate is not trusted; --ca names the file of your own CA"
    if isinstance(reason, exceptions.ReadTimeoutError):
        perhaps = "; it may have been done all the same: `osteon pipeline status` lists the runs" if begin else ""
        return f"{begin}{where} was silent for {READ} s{perhaps}"
    return f"{where} does not answer ({type(reason).__name__}); check the address and the network"


def _refusal(where: str, error: Any, begin: str, missing: str) -> OsteonError:
    message = _server_message(error)
    reason = f": {message}" if message else ""
    if error.status == 401:
        return OsteonError(f"{where} needs a login (401{reason}); {_how_to_authenticate()}")
    if error.status == 403:
        account, permission = _account(message), re.search(r"Verb:(\w+).*?Resource:(\w+)", message)
        may = f"may not {permission[1]} {permission[2]}" if permission else "has no permission"
        namespace = re.search(r"Namespace:([\w-]+)", message)
        place = f"the namespace {namespace[1]}" if namespace else "the namespace"
        whose = f"ask whoever owns {place} for the role kubeflow-edit there" if account else _how_to_authenticate()
        return OsteonError(f"{begin}{account or 'who has not authenticated'} {may} at {where} (403); {whose}")
    if error.status == 404 and missing:
        return OsteonError(missing)
    if error.status in (502, 503, 504):
        return UnreachableError(f"{begin}{where} is not ready ({error.status}{reason}); try again in a while")
    if error.status >= 500:
        return OsteonError(
            f"{begin}{where} failed ({error.status}{reason}); its log says why: "
            f"`kubectl logs -n {SYSTEM} deploy/ml-pipeline --tail 50`"
        )
    return OsteonError(f"{begin}{where} refused ({error.status}{reason})")


def _server_message(error: Any) -> str:
    """The server's message, short, and without what we authenticate with."""
    text = error.body or ""
    try:
        body = json.loads(text)
        text = body.get("message") or body.get("error_message") or body.get("error") or text
    except (ValueError, AttributeError):
        text = "" if "<" in text else text  # a proxy's page
    for secret in _credentials().values():
        text = str(text).replace(secret, "…")
    return " ".join(str(text).split())[:300]


def _account(message: str) -> str:
    """Who we are to the server: as it says, or as the token does."""
    if user := re.search(r"[Uu]ser '([^']+)'", message):
        return user[1]
    for name, content in _credentials().items():
        if name == COOKIE:
            return f"who is logged in with {COOKIE}"
        with_padding = content.split(".")[1] + "==" if content.count(".") == 2 else ""
        try:
            return str(json.loads(base64.urlsafe_b64decode(with_padding))["sub"])
        except (ValueError, LookupError, TypeError):
            return f"the account of the token in {name}"
    return ""


def _how_to_authenticate(lead: str = "") -> str:
    given = _credentials()
    if COOKIE in given:
        return f"{lead}the cookie in {COOKIE} is not accepted, it may have expired; take a new one from your browser"
    if given:
        name = next(iter(given))
        return f"{lead}the token in {name} is not accepted; it may have expired, or be for another audience"
    return f"{lead}set {TOKEN_FILE} to a file with a token, or {COOKIE} to the browser's session cookie"


# ---------------------------------------------------------------- pipelines and their versions


class Version(NamedTuple):
    """A version of a pipeline on the cluster."""

    pipeline: str
    pipeline_id: str
    name: str
    version_id: str
    new: bool


def upload(cluster: Cluster, pipeline: str, compiled: CompiledFile) -> Version:
    """The version with this content: the one that is there, or one that is made now, as is its pipeline.

    Raises:
        OsteonError: the server refuses.

    """
    with translate_refusals(cluster, f"pipeline {pipeline}"):
        pipeline_id = _pipeline(cluster, pipeline)
        version = _version(cluster, pipeline_id, compiled.version)
        if version is None:
            try:
                made = cluster.client.pipeline_uploads.upload_pipeline_version(
                    str(compiled.path),
                    name=compiled.version,
                    pipelineid=pipeline_id,
                    description=", ".join(compiled.images),
                )
                return Version(pipeline, pipeline_id, compiled.version, made.pipeline_version_id, new=True)
            except ApiException as error:
                # Somebody was faster; the content is the same, for its hash is the name.
                if error.status != 409:
                    raise
                version = _version(cluster, pipeline_id, compiled.version)
                if version is None:
                    raise
    return Version(pipeline, pipeline_id, compiled.version, version.pipeline_version_id, new=False)


def newest_version(cluster: Cluster, version: Version) -> str:
    """The name of the pipeline's newest version."""
    with translate_refusals(cluster, f"pipeline {version.pipeline}"):
        page = cluster.client.list_pipeline_versions(version.pipeline_id, page_size=1, sort_by="created_at desc")
    return str(page.pipeline_versions[0].display_name) if page.pipeline_versions else version.name


def version_name(cluster: Cluster, reference: Any) -> str:
    """The name of the version that a run was started from; its id where the name cannot be had."""
    if not reference or not reference.pipeline_version_id:
        return ""
    try:
        with translate_refusals(cluster, "version"):
            version = cluster.client.get_pipeline_version(reference.pipeline_id, reference.pipeline_version_id)
    except OsteonError:  # deleted, or not for us
        return str(reference.pipeline_version_id)
    return str(version.display_name)


def _pipeline(cluster: Cluster, name: str) -> str:
    pipelines = cluster.client.list_pipelines(filter=_equals(name), namespace=cluster.namespace).pipelines
    if pipelines:
        return str(pipelines[0].pipeline_id)
    # Servers before 2.15 know the one name, later ones want the other.
    wanted = api.V2beta1Pipeline(display_name=name, name=name, namespace=cluster.namespace)
    return str(cluster.client.pipelines.pipeline_service_create_pipeline(pipeline=wanted).pipeline_id)


def _version(cluster: Cluster, pipeline_id: str, name: str) -> Any:
    versions = cluster.client.list_pipeline_versions(pipeline_id, filter=_equals(name)).pipeline_versions
    return versions[0] if versions else None


def _equals(name: str) -> str:
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


# ---------------------------------------------------------------- experiments and runs


def experiment_of(cluster: Cluster, name: str, *, make: bool) -> str:
    """The id of an experiment.

    Raises:
        OsteonError: there is none, and none is to be made.

    """
    with translate_refusals(cluster, f"experiment {name}"):
        experiments = cluster.client.list_experiments(filter=_equals(name), namespace=cluster.namespace).experiments
        if not experiments and make:
            wanted = api.V2beta1Experiment(display_name=name, namespace=cluster.namespace)
            experiments = [cluster.client.experiments.experiment_service_create_experiment(experiment=wanted)]
    if not experiments:
        place = f" in the namespace {cluster.namespace}" if cluster.namespace else ""
        raise OsteonError(f"no experiment {name}{place}; `osteon pipeline submit` makes it, --experiment names another")
    return str(experiments[0].experiment_id)


def start(cluster: Cluster, version: Version, experiment_id: str, arguments: dict[str, str]) -> str:
    """Start a run; its id.

    Raises:
        OsteonError: the server refuses.

    """
    wanted = api.V2beta1Run(
        display_name=f"{version.pipeline} {datetime.now(UTC):%Y-%m-%d %H:%M}",
        experiment_id=experiment_id,
        pipeline_version_reference=api.V2beta1PipelineVersionReference(
            pipeline_id=version.pipeline_id, pipeline_version_id=version.version_id
        ),
        runtime_config=api.V2beta1RuntimeConfig(parameters=arguments),
    )
    with translate_refusals(cluster, "the run was not started"):
        return str(cluster.client.runs.run_service_create_run(run=wanted).run_id)


def get_run(cluster: Cluster, run_id: str) -> Any:
    """A run with its steps.

    Raises:
        OsteonError: there is none with this id.

    """
    with translate_refusals(cluster, f"run {run_id}", _no_run(cluster, run_id)):
        return cluster.client.get_run(run_id)


def terminate(cluster: Cluster, run_id: str) -> None:
    """End a run before its end.

    Raises:
        OsteonError: the server refuses.

    """
    with translate_refusals(cluster, f"run {run_id} was not canceled", _no_run(cluster, run_id)):
        cluster.client.runs.run_service_terminate_run(run_id=run_id)


def retry(cluster: Cluster, run_id: str) -> None:
    """Let a run that has failed go on where it failed.

    Raises:
        OsteonError: the server refuses.

    """
    with translate_refusals(cluster, f"run {run_id} was not retried", _no_run(cluster, run_id)):
        cluster.client.runs.run_service_retry_run(run_id=run_id)


def _no_run(cluster: Cluster, run_id: str) -> str:
    return f"no run {run_id} at {cluster.address}; `osteon pipeline status` lists the last"


def last_runs(cluster: Cluster, experiment_id: str, most: int = 10) -> list[Any]:
    """The latest runs of an experiment, the latest first."""
    with translate_refusals(cluster, "runs"):
        page = cluster.client.list_runs(experiment_id=experiment_id, page_size=most, sort_by="created_at desc")
    return page.runs or []


class Log(NamedTuple):
    """What a pod has written, and why there is no more of it; None where the server does not have it."""

    text: str | None
    fault: str = ""


def log_of(cluster: Cluster, run_id: str, name: str) -> Log:
    """What a pod has written: from the pod while it is there, else from Argo's archive.

    The API's own server has it under one address, the server of the pages, which passes on the rest, under another. The
    former says with status 200 that it has none, in JSON; where a log breaks off, behind it.

    Args:
        cluster: where it ran.
        run_id: of which run.
        name: the pod's, or the id of its node.

    Raises:
        UnreachableError: nobody answers.

    """
    node = {"run_id": run_id, "node_id": name}
    wanted = [("podname", name), ("runid", run_id), ("podnamespace", cluster.pods_in)]
    faults = []
    for path, parts, query in (
        ("/apis/v1alpha1/runs/{run_id}/nodes/{node_id}/log", node, []),
        ("/k8s/pod/logs", {}, wanted),
    ):
        reply = _text_of(cluster, "log", path, parts, query)
        if reply is None:
            continue
        text, fault = _without_fault(reply)
        if text:
            return Log(text, fault)
        if not fault:
            return Log("")
        faults.append(fault)
    archived = _text_of(
        cluster, "log", "/apis/v2beta1/runs/{run_id}/nodes/{node_id}/artifacts/main-logs:read", node, []
    )
    if archived and (content := _artefact(archived)) is not None:
        return Log(content)
    return Log(None, faults[0] if faults else "")


def pod_of(cluster: Cluster, name: str) -> Any:
    """What Kubernetes says of a pod; None where the server does not say it. Only the server of the pages does.

    Raises:
        UnreachableError: nobody answers.

    """
    text = _text_of(cluster, "pod", "/k8s/pod", {}, [("podname", name), ("podnamespace", cluster.pods_in)])
    return _json(text or "")


def node_messages(cluster: Cluster, run_id: str) -> dict[str, str]:
    """Argo's messages to the nodes of a run, by their ids; none where the server no longer has its older API.

    Raises:
        UnreachableError: nobody answers.

    """
    reply = _json(_text_of(cluster, "run", "/apis/v1beta1/runs/{run_id}", {"run_id": run_id}, []) or "") or {}
    workflow = _json((reply.get("pipeline_runtime") or {}).get("workflow_manifest") or "") or {}
    status = workflow.get("status") or {}
    nodes = status.get("nodes") or {}
    if packed := status.get("compressedNodes"):
        with suppress(ValueError, OSError):
            nodes = _json(gzip.decompress(base64.b64decode(packed)).decode()) or {}
    return {name: str(node["message"]) for name, node in nodes.items() if node.get("message")}


def _json(text: str) -> Any:
    """The object that a text is; None if it is none."""
    try:
        content = json.loads(text)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _artefact(text: str) -> str | None:
    """The content of an artefact, from the server's JSON."""
    data = (_json(text) or {}).get("data")
    if not isinstance(data, str):
        return None
    with suppress(ValueError):
        return base64.b64decode(data, validate=True).decode("utf-8", errors="replace")
    return None


def _without_fault(text: str) -> tuple[str, str]:
    """A log, and the server's error behind it or in its place."""
    begin = text.rfind('{"error_message"')
    content = _json(text[begin:]) if begin >= 0 else None
    if content is None or not set(content) <= {"error_message", "error_details"}:
        return text, ""
    message = " ".join(str(content["error_message"]).split())
    return text[:begin], re.split(r", (?=[A-Z]\w+: )|: (?=pods? )", message)[-1][-200:].rstrip(".")


def _text_of(
    cluster: Cluster, doing: str, path: str, parts: dict[str, str], query: list[tuple[str, str]]
) -> str | None:
    """The text under an address; None where it is a page for people, or the server has nothing there."""
    with translate_refusals(cluster, doing):
        try:
            response = cluster.client.api_client.call_api(
                path,
                "GET",
                path_params=parts,
                query_params=query,
                auth_settings=["Bearer"],
                _preload_content=False,
                _return_http_data_only=True,
            )
        except _PageError:
            return None
        except ApiException as error:
            # Of a pod that is gone one says 404, the other 500 or 400.
            if error.status in (401, 403, 502, 503, 504):
                raise
            return None
        return str(response.data.decode("utf-8", errors="replace"))
