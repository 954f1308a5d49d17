"""Monitoring: live figures of a server, drift, alarms, and what follows from them."""
