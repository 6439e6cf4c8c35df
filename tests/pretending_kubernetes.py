"""A stand-in for Kubernetes and the Dask operator: its HTTP interface, with processes of this machine as pods.

It takes what is created only if the schemas allow it, strictly, and runs the very commands of the pods. What it cannot
show: images, volumes, rights, and how a real cluster schedules.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import urllib.request
import uuid
from contextlib import contextmanager, suppress

import jsonschema
import yaml
from aiohttp import WSMsgType, web
from kubernetes_schemas import check

from dgmm.jobs.manifests import HEALTH_PORT, PORT, TLS_FOLDER

GROUP = "/apis/kubernetes.dask.org/v1/namespaces/{namespace}"
NAMESPACE = "science"


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Pretending:
    """The state of the stand-in.

    Attributes
    ----------
    created : list of dict
        Manifests, in the order that they came in.
    deleted : list of str
        Kind and name.
    """

    def __init__(self, folder):
        self.folder, self.created, self.deleted = folder, [], []
        self.operator = True
        self.secrets, self.processes = {}, {}
        self.port = self.health_port = 0

    def application(self):
        app = web.Application()
        core = f"/api/v1/namespaces/{NAMESPACE}"
        app.router.add_get("/version{_:/?}", self._version)
        app.router.add_post(GROUP + "/{plural}", self._create)
        app.router.add_post(core + "/{plural:secrets}", self._create)
        app.router.add_post(f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies", self._create)
        app.router.add_get(GROUP + "/{plural}/{name}", self._get)
        app.router.add_delete(GROUP + "/{plural}/{name}", self._delete)
        app.router.add_get(core + "/pods", self._pods)
        app.router.add_get(core + "/pods/{name}/portforward", self._forward)
        return app

    async def _version(self, request):
        return web.json_response({"gitVersion": "v1.34.0"})

    async def _create(self, request):
        manifest = await request.json()
        metadata = manifest["metadata"]
        metadata.pop("namespace", None)
        try:
            check(manifest)
        except jsonschema.ValidationError as error:
            return web.json_response({"message": f"{error.json_path}: {error.message}"}, status=422)
        self.created.append(manifest)
        metadata |= {"uid": str(uuid.uuid4()), "namespace": NAMESPACE}
        if manifest["kind"] == "DaskCluster" and self.operator:
            manifest["status"] = {"phase": "Running"}
        if manifest["kind"] == "Secret":
            self._start(manifest)
        return web.json_response(manifest, status=201)

    def _start(self, secret):
        """Do what the operator and the kubelets do, once the volume of the pods can be mounted."""
        folder = self.folder / secret["metadata"]["name"]
        folder.mkdir(parents=True)
        for name, text in secret["stringData"].items():
            (folder / name).write_text(text)
        (cluster,) = (each for each in self.created if each["kind"] == "DaskCluster")
        if not self.operator:
            return
        self.port, self.health_port = free_port(), free_port()
        spec, name = cluster["spec"], cluster["metadata"]["name"]
        self._run(f"{name}-scheduler", "scheduler", spec["scheduler"]["spec"], folder)
        for number in range(spec["worker"]["replicas"]):
            self._run(f"{name}-default-worker-{number}", "worker", spec["worker"]["spec"], folder)

    def _run(self, name, component, spec, secret):
        (container,) = spec["containers"]
        values = {each["name"]: each["value"] for each in container["env"]}
        places = {
            TLS_FOLDER: str(secret),
            f":{HEALTH_PORT}": f"127.0.0.1:{self.health_port}",
            f"{name.partition('-default')[0]}-scheduler:{PORT}": f"127.0.0.1:{self.port}",
            "0.0.0.0": "127.0.0.1",
            "$(DASK_WORKER_NAME)": name,
        }
        words = []
        for word in container["command"]:
            for here, there in places.items():
                word = word.replace(here, there)
            words.append(word)
        if component == "scheduler":
            words[words.index("--port") + 1] = str(self.port)
        assert words.pop(0) == "python"
        environment = os.environ | values | {"DASK_WORKER_NAME": name, "DASK_SCHEDULER_ADDRESS": "tcp://192.0.2.1:1"}
        log = (self.folder / f"{name}.log").open("w")
        process = subprocess.Popen([sys.executable, *words], env=environment, stdout=log, stderr=log)
        log.close()
        self.processes[name] = (component, process)

    async def _get(self, request):
        for each in self.created:
            if each["metadata"]["name"] == request.match_info["name"] and each["kind"] == "DaskCluster":
                return web.json_response(each)
        return web.json_response({"message": "not found"}, status=404)

    async def _delete(self, request):
        kinds = {"daskclusters": "DaskCluster", "daskautoscalers": "DaskAutoscaler"}
        self.deleted.append(kinds[request.match_info["plural"]])
        if self.deleted[-1] == "DaskCluster":
            await asyncio.to_thread(self.end)
        return web.json_response({})

    async def _pods(self, request):
        labels = dict(each.split("=") for each in request.query["labelSelector"].split(","))
        found = []
        for name, (component, process) in self.processes.items():
            if labels.get("dask.org/component", component) == component:
                ready = process.poll() is None and await asyncio.to_thread(self._healthy, component)
                status = {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]}
                metadata = {"name": name, "namespace": NAMESPACE}
                found.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}, "status": status})
        return web.json_response({"apiVersion": "v1", "kind": "PodList", "items": found})

    def _healthy(self, component):
        if component == "worker":
            return True
        with suppress(OSError):
            return urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}/health", timeout=5).status == 200
        return False

    async def _forward(self, request):
        """Bytes to and from the scheduler: a channel of data and one of errors, each begun by its port."""
        socket_ = web.WebSocketResponse(protocols=("v4.channel.k8s.io",), max_msg_size=0)
        await socket_.prepare(request)
        port = int(request.query["ports"]).to_bytes(2, "little")
        for channel in (b"\x00", b"\x01"):
            await socket_.send_bytes(channel + port)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)

        async def back():
            while data := await reader.read(1 << 20):
                await socket_.send_bytes(b"\x00" + data)
            await socket_.close()

        backwards = asyncio.create_task(back())
        async for message in socket_:
            if message.type == WSMsgType.BINARY and message.data[:1] == b"\x00":
                writer.write(message.data[1:])
                await writer.drain()
        backwards.cancel()
        writer.close()
        return socket_

    def end(self):
        for _, process in self.processes.values():
            process.terminate()
        for _, process in self.processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20)
            process.kill()
            process.wait()


@contextmanager
def pretending(folder, **changes):
    """The stand-in while it runs, and the path of a kubeconfig that leads to it."""
    made, loop, port = Pretending(folder), asyncio.new_event_loop(), free_port()
    for name, value in changes.items():
        setattr(made, name, value)
    runner = web.AppRunner(made.application())

    async def start():
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    config = folder / "kubeconfig"
    config.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}],
                "current-context": "x",
            }
        )
    )
    try:
        yield made, config
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        made.end()
