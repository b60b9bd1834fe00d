"""Pages for people, made on the server. They work without scripts; scripts only make them quicker."""

from fastapi import APIRouter

from viewer_api.pages import (
    audit,
    dashboard,
    disc,
    figure_reports,
    hidden,
    identity,
    links,
    messages,
    patient,
    peers,
    queues,
    reports,
    sharing,
    study_list,
    tt54,
    worklist,
)

router = APIRouter()
for module in (
    study_list,
    dashboard,
    worklist,
    queues,
    messages,
    hidden,
    audit,
    links,
    disc,
    patient,
    sharing,
    reports,
    figure_reports,
    tt54,
    identity,
    peers,
):
    router.include_router(module.router)

__all__ = ["router"]
