"""TravelPlanner (arXiv 2402.01622): its database, plans, constraints, and their verifier."""
