"""Testing pipelines: `drive` takes records through a pipeline in a test, without a server.

    from papyra_flow import drive

    with drive("pipeline.yml") as pipeline:
        pipeline.put("orders", {"order": 1, "quantity": 2, "price": 50.0})
        assert pipeline.out("large") == [...]

The pytest plugin (installed with papyra-flow) has the fixtures `flow_driver` and `flow_server`.
"""

from papyra_flow.testing.driver import Driver, drive

__all__ = ["Driver", "drive"]
