"""Renders the manifests of k8s/ and holds the schemas that they are checked against."""
