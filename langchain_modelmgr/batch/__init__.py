"""Mass jobs: one plan of many rows, asked on this machine, on Dask or on Ray."""

from langchain_modelmgr.batch.estimate import Estimate
from langchain_modelmgr.batch.job import Job
from langchain_modelmgr.batch.status import JobStatus

__all__ = ["Estimate", "Job", "JobStatus"]
