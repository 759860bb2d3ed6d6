from nanoasr.ui.repeating import repeating


def test_every_update_repeats_what_came_before_it():
    @repeating
    def handler(first: int):
        yield {"a": first}
        yield {"b": 2}
        yield {"a": 3}

    assert list(handler(1)) == [{"a": 1}, {"a": 1, "b": 2}, {"a": 3, "b": 2}]


def test_who_stops_listening_closes_the_handler_too():
    closed = []

    @repeating
    def handler():
        try:
            yield {}
            yield {}
        finally:
            closed.append(True)

    updates = handler()
    next(updates)
    updates.close()
    assert closed
