"""What knows nothing about models: threads, slots, forks, exits, masking, the AWS environment."""
