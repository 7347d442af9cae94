"""Where Bedrock is reached: clients, one attempt on the wire, and the name of every failure."""
