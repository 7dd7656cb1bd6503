"""The Accept-Encoding field (RFC 9110, section 12.5.3)."""


def takes_gzip(accepted):
    """Whether a client accepts gzip: by name or by `*`, with a weight above 0."""
    weights = {}
    for part in accepted.split(","):
        coding, *parameters = part.split(";")
        weight = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "q":
                try:
                    weight = float(value)
                except ValueError:
                    weight = 0.0
        weights[coding.strip().lower()] = weight
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0))) > 0
