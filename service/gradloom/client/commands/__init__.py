"""The commands of the command line, a module a family; `gradloom.client.cli` puts them together."""
