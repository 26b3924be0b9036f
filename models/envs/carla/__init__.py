"""CARLA's motorway task in three weathers: `carla/clear_noon`, `carla/wet_sunset`, `carla/dynamic_weather`.

    rules, weather, traffic      pure: numbers in, numbers out
    lanes                        pure, on a `carla.Map`
    server, keeper               a server process and its port
    simulation                   one world: ego car, sensors, traffic, ticks
    suite                        the environment

Only `lanes` and `simulation` touch the `carla` package. Facts: docs/suites/carla.md.
"""
