"""Topology: from models to a DAG of stages and streams, its checks, its plan against a server, its picture.

Nothing in here runs a pipeline.
"""
