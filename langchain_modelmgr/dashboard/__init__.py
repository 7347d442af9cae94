"""Makes a dashboard, alarms and the least IAM policy from the configuration.

``modelmgr dashboard`` prints the CloudFormation template, ``modelmgr iam`` the policy.
"""

from langchain_modelmgr.dashboard.iam import iam_policy
from langchain_modelmgr.dashboard.template import template_of

__all__ = ["iam_policy", "template_of"]
