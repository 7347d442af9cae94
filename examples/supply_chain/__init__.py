"""The design guide's Supply Chain application: four agents, an orchestrator, real tools."""
