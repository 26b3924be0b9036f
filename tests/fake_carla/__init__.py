"""A fake CARLA server for tests without a simulator: it speaks the wire protocol to the real client of carla 0.9.16.

    python -m tests.fake_carla --port 2000            serve on loopback, for 15 minutes at most
    from tests.fake_carla.running import fake_server  the same in a `with` block, on a free port

    roads      the task's route as OpenDRIVE text      world      cars that roll, steer and collide
    drawing    what a camera sees                      wire       layouts of calls and streams
    server     calls, streams, faults                  running    a server in a process of its own

Pictures and physics are drawn: nothing that is measured here says anything about CARLA. What runs is the client with
its Traffic Manager, and what is built upon them. It needs `msgpack` and numpy. More: docs/suites/carla.md.
"""
