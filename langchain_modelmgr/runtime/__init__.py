"""Shared parts that know nothing about models: threads, forks, exit, masking, AWS settings."""
