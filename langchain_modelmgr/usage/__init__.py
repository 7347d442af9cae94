"""What attempts took and cost: the meter, estimates, prices, records, totals, sinks."""
