"""What a spec may name."""

from typing import TYPE_CHECKING

import click

from gradloom.client.commands.connection import connected
from gradloom.client.commands.options import client_command
from gradloom.client.commands.printing import print_json_list, print_lines

if TYPE_CHECKING:
    from gradloom.client.client import Client


@client_command
@click.argument("type", metavar="[TYPE]", required=False)
@click.option("--kind", metavar="KIND", help="Only this kind: layer, loss, metric, optimizer, schedule, dataset, ...")
def components(server: str | None, output: str, type: str | None, kind: str | None) -> None:
    """List what a spec may name, or explain TYPE.

    Explained are the keys that its `config` may hold, with their defaults.
    """
    with connected(server) as client:
        found = list(client.components(type, kind=kind))
        if type and not found:
            _refuse_unknown_type(client, type)
    if output == "json":
        print_json_list("components", found)
        return
    from gradloom.client.component_lines import component_lines, component_table

    if not type:
        print_lines(component_table(found))
    for component in found if type else ():
        print_lines(component_lines(component))


def _refuse_unknown_type(client: "Client", type: str) -> None:
    import difflib

    from gradloom.errors import NotFoundError

    nearest = difflib.get_close_matches(type, [component.type for component in client.components()], n=3)
    hint = f"; near it: {', '.join(nearest)}" if nearest else ""
    raise NotFoundError(f"no component of type {type!r}{hint}")
