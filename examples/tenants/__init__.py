"""Two tenants with a budget each: one runs out, the other goes on."""
