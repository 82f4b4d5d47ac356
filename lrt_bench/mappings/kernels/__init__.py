"""Maps that are not linear and still solved in closed form: ridge regression on features of a state."""
