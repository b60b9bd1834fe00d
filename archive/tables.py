"""Imports every module that declares tables, so that `Base.metadata` knows them all."""

from __future__ import annotations

import archive.audit.models
import archive.commitment.models
import archive.correction.models
import archive.delivery.models
import archive.feed.models
import archive.fhir.models
import archive.figures.models
import archive.hl7.models
import archive.identity.models
import archive.people.models
import archive.registry.models
import archive.rejection.models
import archive.reports.models
import archive.routing.models
import archive.sharing.decision_models
import archive.sharing.models
import archive.ups.models
import archive.worklist.models  # noqa: F401  for its effect
from archive.models import Base

metadata = Base.metadata
