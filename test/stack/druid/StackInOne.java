import java.io.File;
import java.lang.reflect.InvocationTargetException;
import java.net.HttpURLConnection;
import java.net.URL;
import java.net.URLClassLoader;
import java.util.ArrayList;
import java.util.List;

/**
 * Runs several servers in one JVM, each in a class loader of its own, so that their static state stays apart (Guice's
 * servlet filter, for one, is static: two Druid roles in one class loader answer with the resources of the last one).
 *
 * Arguments, one per server: name|ready-url or -|main class|class path, comma separated, dir/* for its jars|arg,arg
 * A server whose ready-url is not "-" is waited for before the next one starts.
 */
public class StackInOne {
  public static void main(String[] args) throws Exception {
    final long t0 = System.nanoTime();
    for (String a : args) {
      final String[] f = a.split("\\|", -1);
      final List<URL> urls = new ArrayList<>();
      for (String p : f[3].split(",")) {
        if (p.endsWith("/*")) {
          final File[] jars = new File(p.substring(0, p.length() - 2)).listFiles((d, n) -> n.endsWith(".jar"));
          java.util.Arrays.sort(jars);
          for (File j : jars) {
            urls.add(j.toURI().toURL());
          }
        } else {
          urls.add(new File(p).toURI().toURL());
        }
      }
      final ClassLoader loader = new URLClassLoader(f[0], urls.toArray(new URL[0]), ClassLoader.getPlatformClassLoader());
      final Thread t = new Thread(() -> {
        try {
          loader.loadClass(f[2]).getMethod("main", String[].class).invoke(null, (Object) f[4].split(","));
        } catch (InvocationTargetException e) {
          e.getCause().printStackTrace();
          System.exit(1);
        } catch (Throwable e) {
          e.printStackTrace();
          System.exit(1);
        }
      }, f[0]);
      t.setContextClassLoader(loader);
      t.start();
      while (!f[1].equals("-") && !ready(f[1])) {
        Thread.sleep(50);
      }
      System.out.println((System.nanoTime() - t0) / 1_000_000 + " ms: " + f[0] + (f[1].equals("-") ? " started" : " ready"));
    }
  }

  private static boolean ready(String url) {
    try {
      final HttpURLConnection c = (HttpURLConnection) new URL(url).openConnection();
      c.setConnectTimeout(200);
      c.setReadTimeout(1000);
      return c.getResponseCode() == 200;
    } catch (Exception e) {
      return false;
    }
  }
}
