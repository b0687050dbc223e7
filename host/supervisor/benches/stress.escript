#!/usr/bin/env escript
%% -*- erlang -*-
%%! +S 2:2 +P 1000000
%% The other half of stress.rs: the same work on OTP's supervisor.
-module(stress).
-mode(compile).
-export([init/1, start_worker/2, worker/2, start_level/2]).

main([C, D, R, S]) ->
    logger:set_primary_config(level, none),
    process_flag(trap_exit, true),
    register(bench, self()),
    [Children, Depth, Rounds, Singles] = [list_to_integer(X) || X <- [C, D, R, S]],
    flat(Children, Rounds, Singles),
    deep(Depth, Rounds * 100).

init({flat, N}) ->
    {ok, {#{strategy => one_for_one, intensity => 1000000000, period => 1},
          [worker_spec(I) || I <- lists:seq(1, N)]}};
init({level, 0, Depth}) ->
    {ok, {#{strategy => one_for_one, intensity => 1000000000, period => 1}, [level_spec(1, Depth)]}};
init({level, L, Depth}) when L > Depth ->
    {ok, {#{strategy => one_for_all, intensity => 1000000000, period => 1}, [worker_spec(1)]}};
init({level, L, Depth}) ->
    {ok, {#{strategy => one_for_all, intensity => 1000000000, period => 1},
          [case L of Depth -> worker_spec(1); _ -> level_spec(L + 1, Depth) end]}}.

worker_spec(I) ->
    #{id => I, start => {?MODULE, start_worker, [I, bench]}}.
level_spec(L, Depth) ->
    #{id => {level, L}, start => {?MODULE, start_level, [L, Depth]}, type => supervisor}.

start_level(L, Depth) -> supervisor:start_link(?MODULE, {level, L, Depth}).

start_worker(I, Bench) -> proc_lib:start_link(?MODULE, worker, [I, Bench]).
worker(I, Bench) ->
    Bench ! {started, I, self()},
    proc_lib:init_ack({ok, self()}),
    receive stop -> ok end.

now_us() -> erlang:monotonic_time(microsecond).

collect(0, Pids) -> Pids;
collect(N, Pids) -> receive {started, I, P} -> collect(N - 1, Pids#{I => P}) end.

flat(N, Rounds, Singles) ->
    {ok, Sup} = supervisor:start_link(?MODULE, {flat, N}),
    Pids0 = collect(N, #{}),
    {Us, Pids} = lists:foldl(
        fun(_, {Sum, Pids}) ->
            T0 = now_us(),
            [exit(P, kill) || P <- maps:values(Pids)],
            New = collect(N, #{}),
            T1 = now_us(),
            timer:sleep(2000),
            {Sum + T1 - T0, New}
        end, {0, Pids0}, lists:seq(1, Rounds)),
    io:format("flat_restarts_per_s ~.1f~n", [N * Rounds / (Us / 1000000)]),
    {Times, _} = lists:foldl(
        fun(I, {Ts, Ps}) ->
            K = (I * 7919) rem N + 1,
            T0 = now_us(),
            exit(maps:get(K, Ps), kill),
            receive {started, K, P} -> ok end,
            {[now_us() - T0 | Ts], Ps#{K => P}}
        end, {[], Pids}, lists:seq(0, Singles - 1)),
    Sorted = lists:sort(Times),
    io:format("flat_exit_to_restarted_us_p50 ~.1f~n", [float(lists:nth(Singles div 2, Sorted))]),
    io:format("flat_exit_to_restarted_us_p99 ~.1f~n", [float(lists:nth(Singles * 99 div 100, Sorted))]),
    unlink(Sup), exit(Sup, kill), ok.

deep(Depth, Rounds) ->
    {ok, Root} = supervisor:start_link(?MODULE, {level, 0, Depth}),
    collect(1, #{}),
    T0 = now_us(),
    [begin
         [{_, Top, _, _}] = supervisor:which_children(Root),
         exit(Top, kill),
         collect(1, #{})
     end || _ <- lists:seq(1, Rounds)],
    T1 = now_us(),
    io:format("deep_restarts_per_s ~.1f~n", [(Depth + 1) * Rounds / ((T1 - T0) / 1000000)]).
