"""Tools of the project, which no installed netd has."""
