"""Containers of this machine for the rehearsal, by Docker or Podman.

kfp's own runner takes a container that was removed before its end was read for a success, and it looks for an image by
its tag alone.
"""

import os
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound

from osteon.errors import OsteonError


def find_image(name: str) -> str:
    """An image of this machine as NAME@ID, which does not move.

    Raises:
        OsteonError: no engine answers, or it has no such image.

    """
    try:
        client = docker.from_env()
    except DockerException:
        where = os.environ.get("DOCKER_HOST", "its usual socket")
        raise OsteonError(
            f"no container engine answers at {where}; start Docker, or Podman with `podman system service`, and set "
            "DOCKER_HOST; without one: --runner subprocess"
        ) from None
    try:
        return f"{name.partition('@')[0]}@{client.images.get(name).id}"
    except ImageNotFound:
        raise OsteonError(f"there is no image {name} on this machine; `make image` makes one") from None
    finally:
        client.close()


def run_container(
    client: docker.DockerClient, image: str, command: list[str], volumes: dict[str, Any], **given: Any
) -> int:
    """Run a container to its end, with the rights of whoever runs the rehearsal, without a network; its exit code.

    It has the signature of kfp.local.docker_task_handler.run_docker_container, whose place it takes.

    Raises:
        OsteonError: the engine could not start it.

    """
    try:
        container = client.containers.run(
            image=image.partition("@")[2] or image,
            command=command,
            detach=True,
            volumes=volumes,
            user=f"{os.getuid()}:{os.getgid()}",
            network_mode="none",
            cap_drop=["ALL"],
            shm_size="256m",
            **given,
        )
    except APIError as error:
        raise OsteonError(f"the container engine could not start a container ({error.explanation or error})") from None
    try:
        for line in container.logs(stream=True):
            print(line.decode(errors="replace"), end="")  # noqa: T201 – as kfp shows a task's output
        return int(container.wait()["StatusCode"])
    finally:
        container.remove(force=True)
