"""Pages for people, made on the server. They work without scripts; scripts only make them quicker."""

from viewer_api.pages.study_list import router

__all__ = ["router"]
