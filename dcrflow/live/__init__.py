"""A campaign while it runs: its state, the page ``/dcrflow`` on dask's dashboard, the widget of notebooks, `watch`.

The client tells what happens in batches of events: the lines of the run's journal, and a few that the journal does not
need (what was begun, footprints, thumbnails). `state.CampaignState` sums events up. The same function serves the page
on the scheduler, the widget on the client, and `dcrflow watch`, which reads a store's journals.
"""
