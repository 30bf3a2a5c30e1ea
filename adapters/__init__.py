"""One room a platform. Thin: translate events to Questions and Cards to messages, nothing else."""
