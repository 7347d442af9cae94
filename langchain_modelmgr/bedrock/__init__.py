"""Access to Amazon Bedrock: clients, the requests of one attempt, and failure classes."""
