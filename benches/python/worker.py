"""The worker on async-worker, the Python framework that asyncworker succeeds: a message a handler, as there by default.

It takes the same `key=value` arguments as the other workers and prints the same line. async-worker does not close its
connection: the clock runs to the end of the last handler, and the process stays until the last ack is on its way.
"""

import asyncio
import json
import resource
import sys
import time
from typing import List

from asyncworker import App
from asyncworker.connections import AMQPConnection
from asyncworker.rabbitmq import RabbitMQMessage
from asyncworker.routes import AMQPRouteOptions

job = dict(argument.split("=", 1) for argument in sys.argv[1:])
goal = int(job["messages"])
handled = 0
seconds = 0.0

connection = AMQPConnection(
    hostname="127.0.0.1",
    port=int(job["port"]),
    username="guest",
    password="guest",
    prefetch=int(job["prefetch"]),
)
app = App(connections=[connection])


@app.amqp.consume([job["queue"]], options=AMQPRouteOptions(bulk_size=1))
async def handle(messages: List[RabbitMQMessage]) -> None:
    global handled, seconds
    for message in messages:
        assert message.body["customer"]
        handled += 1
    if handled == goal:
        seconds = time.monotonic() - start
        asyncio.get_running_loop().call_later(0.5, app.shutdown)


start = time.monotonic()
app.run()
usage = resource.getrusage(resource.RUSAGE_SELF)
report = {
    "messages": handled,
    "seconds": seconds,
    "cpu_seconds": usage.ru_utime + usage.ru_stime,
    "peak_kib": usage.ru_maxrss,
}
print(json.dumps(report))
