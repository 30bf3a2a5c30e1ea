"""The core: questions, turns, agent, models, journal, policy. Knows no chat platform and no container engine."""
