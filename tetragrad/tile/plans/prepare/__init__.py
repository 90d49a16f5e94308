"""Changes to a kernel before it is planned: fewer axes, written-out choices, cuts."""
