"""The durable log of attempts: written once, read by usage tables, reports and CloudWatch."""
