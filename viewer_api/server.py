"""The server of one process: uvicorn that shares its socket with other processes, and ends what could last for ever."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Final

import uvicorn
from fastapi import FastAPI

from viewer_api.accepting import Acceptor, Connections
from viewer_api.front import Front

_LOOK: Final = 0.02
"""Seconds between two looks whether all processes are ready."""


class Server(uvicorn.Server):
    """Ends the waiting of those who wait for changes when it is to stop: that could last for ever."""

    def __init__(self, app: FastAPI, config: uvicorn.Config, front: Front) -> None:
        super().__init__(config)
        self._app = app
        self._front = front

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; with other processes when all of them can, so that whoever finds the service finds all of it."""
        if self._front.listener is None:
            await super().startup(sockets)
            return
        connections = self.server_state.connections = Connections()
        await super().startup([])
        acceptor = Acceptor(self._front, connections, self._protocol, self.config.ssl)
        front = self._front
        front.identifiers[front.number] = os.getpid()
        front.starts[front.number] += 1
        while not (front.complete or self.should_exit):
            await asyncio.sleep(_LOOK)
        self.servers = [acceptor]  # type: ignore[list-item]
        if not self.should_exit:
            acceptor.start(self.config.backlog)
            if front.first:
                self._log_started_message(sockets or [])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what is under way, and end."""
        self._app.state.listeners.stopping = True
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
