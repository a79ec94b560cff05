"""The service edge for FastAPI: commands, reads, live events and health as endpoints of an application of yours.

app = FastAPI(lifespan=lifespan(store))
install(app)
app.include_router(command_router(Task))
app.include_router(query_router(TaskBoard))
"""

from eventstore.fastapi.commands import Rules, command_router
from eventstore.fastapi.guard import install
from eventstore.fastapi.health import health_router
from eventstore.fastapi.metrics import metrics_router
from eventstore.fastapi.problems import Problem
from eventstore.fastapi.queries import query_router
from eventstore.fastapi.serving import OpenStore, lifespan
from eventstore.fastapi.streams import change_router, event_router

__all__ = [
    "OpenStore",
    "Problem",
    "Rules",
    "change_router",
    "command_router",
    "event_router",
    "health_router",
    "install",
    "lifespan",
    "metrics_router",
    "query_router",
]
